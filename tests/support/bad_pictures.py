"""Some two hundred bad pictures made by code: broken, lying, oversized and ill-named files in every format that wordmint reads."""

import os
import random
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = {"AVIF": "avif", "BMP": "bmp", "GIF": "gif", "JPEG": "jpg", "JPEG2000": "jp2", "PNG": "png", "PPM": "ppm", "TIFF": "tif", "WEBP": "webp"}


def picture(seed: int = 0, side: int = 96) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side), Image.Resampling.NEAREST)


def encoded(style: str, image: Image.Image | None = None, **options: object) -> bytes:
    (image or picture()).save(buffer := BytesIO(), style, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack(">I", len(data) if length is None else length) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + b"".join(chunks)


def tiff(*entries: tuple[int, int, int, int], next_ifd: int = 0) -> bytes:
    """A little-endian TIFF of one directory; an entry is (tag, type, count, value)."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", next_ifd)


def bytes_of() -> Iterator[tuple[str, bytes]]:
    """Yield name, content of the files that are bad inside."""
    for style, suffix in FORMATS.items():
        whole = encoded(style)
        for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
            yield f"cut-{share}.{suffix}", whole[: max(1, int(share * len(whole)))]
        yield f"last-byte.{suffix}", whole[:-1]
        yield f"behind.{suffix}", whole + os.urandom(64)
        yield f"head-only.{suffix}", whole[:4]
        yield f"zeros.{suffix}", whole[:64] + bytes(len(whole) - 64)
        for seed in range(8):
            rng, flipped = random.Random(seed), bytearray(whole)
            for _ in range(4**seed % 97 + 1):
                flipped[rng.randrange(64 if seed % 2 else len(flipped))] ^= 1 << rng.randrange(8)
            yield f"flipped-{seed}.{suffix}", bytes(flipped)
        yield f"other-format.{suffix}", encoded("PNG" if style == "JPEG" else "JPEG")
        yield f"text.{suffix}", b"not a picture"
        yield f"empty.{suffix}", b""
    yield from bombs()
    yield from lies()
    yield from metadata()


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield files that claim or hold far more than their size."""
    nothing = chunk(b"IDAT", zlib.compress(bytes(1 << 20), 9)) + chunk(b"IEND", b"")
    for side in (20_000, 60_000, 2**31 - 1):
        yield f"claims-{side}.png", png(side, side, nothing)
        yield f"claims-{side}.ppm", b"P6\n%d %d\n255\n" % (side, side)
        yield f"claims-{side}.bmp", encoded("BMP")[:18] + struct.pack("<ii", side, side) + encoded("BMP")[26:]
        yield f"claims-{side}.tif", tiff((256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8))
    yield "claims-65535.gif", encoded("GIF")[:6] + struct.pack("<HH", 65535, 65535) + encoded("GIF")[10:]
    whole = encoded("JPEG")
    frame = whole.index(b"\xff\xc0")
    yield "claims-65535.jpg", whole[: frame + 5] + struct.pack(">HH", 65535, 65535) + whole[frame + 9 :]
    yield "narrow.png", png(1, 2**31 - 1, nothing)
    yield "wide.ppm", b"P5\n999999999999 1\n255\n"
    yield "zero.png", png(0, 0, nothing)
    yield "negative.bmp", encoded("BMP")[:18] + struct.pack("<ii", -96, -(2**31)) + encoded("BMP")[26:]
    yield "plain-text.ppm", b"P3\n96 96\n255\n" + b"1" * 2_000_000
    yield "depth.ppm", b"P6\n96 96\n99999999999999999999\n" + bytes(96 * 96 * 3)
    yield "nan.ppm", b"P6\nnan inf\n255\n"
    text = zlib.compress(bytes(64 << 20), 9)  # 64 MiB of text in 64 KiB
    yield "text-bomb.png", png(96, 96, chunk(b"zTXt", b"Comment\0\0" + text), chunk(b"IDAT", zlib.compress(bytes(97 * 3 * 96))), chunk(b"IEND", b""))
    yield "profile-bomb.png", png(96, 96, chunk(b"iCCP", b"ICC\0\0" + text), chunk(b"IDAT", zlib.compress(bytes(97 * 3 * 96))), chunk(b"IEND", b""))
    yield "data-bomb.png", png(96, 96, chunk(b"IDAT", text), chunk(b"IEND", b""))


def lies() -> Iterator[tuple[str, bytes]]:
    """Yield files whose parts contradict one another."""
    data = chunk(b"IDAT", zlib.compress(bytes((1 + 96 * 3) * 96)))
    yield "chunk-of-2-gib.png", png(96, 96, chunk(b"tEXt", b"x", length=2**31 - 1), data)
    yield "chunk-of-4-gib.png", png(96, 96, chunk(b"IDAT", b"x", length=2**32 - 1))
    yield "wrong-crc.png", png(96, 96, data[:-1] + b"\0", chunk(b"IEND", b""))
    yield "no-data.png", png(96, 96, chunk(b"IEND", b""))
    yield "no-header.png", b"\x89PNG\r\n\x1a\n" + data
    yield "strange-depth.png", png(96, 96, data, depth=7)
    yield "strange-colour.png", png(96, 96, data, colour=5)
    yield "no-palette.png", png(96, 96, data, colour=3)
    yield "many-chunks.png", png(96, 96, *[chunk(b"tEXt", b"a\0b")] * 20_000, data, chunk(b"IEND", b""))
    size = ((256, 4, 1, 96), (257, 4, 1, 96), (258, 3, 1, 8))
    yield "points-to-itself.tif", tiff(*size, (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), next_ifd=8)
    yield "huge-count.tif", tiff(*size, (273, 4, 2**32 - 1, 8), (279, 4, 2**32 - 1, 8))
    yield "out-of-file.tif", tiff(*size, (273, 4, 1, 2**32 - 1), (279, 4, 1, 2**32 - 1))
    yield "no-size.tif", tiff((259, 3, 1, 1))
    yield "unknown-compression.tif", tiff(*size, (259, 3, 1, 34_933), (273, 4, 1, 8))
    yield "floating.tif", encoded("TIFF", Image.new("F", (96, 96), float("nan")))
    yield "too-deep.tif", encoded("TIFF", Image.new("I", (96, 96), 2**31 - 1))
    yield "huge-box.jp2", encoded("JPEG2000")[:12] + struct.pack(">I", 2**32 - 1) + encoded("JPEG2000")[16:]
    yield "huge-box.avif", struct.pack(">I", 2**32 - 1) + encoded("AVIF")[4:]
    yield "huge-riff.webp", b"RIFF" + struct.pack("<I", 2**32 - 1) + encoded("WEBP")[8:]
    yield "postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n(/etc/passwd) run\n"
    yield "vector.png", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "program.png", b"\x7fELF" + bytes(512)
    yield "archive.png", b"PK\x03\x04" + bytes(512)
    yield "frames.gif", encoded("GIF", save_all=True, append_images=[picture(n) for n in range(1, 9)])
    yield "pages.tif", encoded("TIFF", save_all=True, append_images=[picture(1)])
    yield "pixel.png", encoded("PNG", picture(side=1))


def metadata() -> Iterator[tuple[str, bytes]]:
    """Yield pictures whose pixels are whole and whose EXIF is absurd."""
    head = b"Exif\0\0II*\0\x08\0\0\0"

    def entry(*fields: int) -> bytes:
        return struct.pack("<HHII", *fields)

    absurd = {
        "orientation-of-9999": b"\x01\0" + entry(0x0112, 3, 1, 9999) + bytes(4),
        "orientation-as-text": b"\x01\0" + entry(0x0112, 2, 4, 0x41414141) + bytes(4),
        "orientation-of-4-billion-values": b"\x01\0" + entry(0x0112, 3, 2**32 - 1, 0) + bytes(4),
        "more-entries-than-bytes": b"\xff\xff" + entry(0x0112, 3, 1, 1),
        "points-to-itself": b"\x01\0" + entry(0x8769, 4, 1, 8) + struct.pack("<I", 8),
        "division-by-zero": b"\x01\0" + entry(0x011A, 5, 1, 26) + bytes(4) + struct.pack("<II", 1, 0),
        "unknown-type": b"\x01\0" + entry(0x0112, 99, 1, 1) + bytes(4),
        "nothing": b"",
        "full-of-noise": bytes(random.Random(0).randbytes(60_000)),
    }
    for name, body in absurd.items():
        yield f"exif-{name}.jpg", encoded("JPEG", exif=head + body)
        yield f"exif-{name}.png", encoded("PNG", exif=head + body)
        yield f"exif-{name}.webp", encoded("WEBP", exif=head + body)


def write_bad_pictures(folder: Path) -> list[Path]:
    """Fill a folder with them all, of which some are no files, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, data in bytes_of():
        paths.append(folder / name)
        paths[-1].write_bytes(data)
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "one.png").symlink_to("two.png")
    (folder / "two.png").symlink_to("one.png")
    (folder / "nowhere.png").symlink_to("none.png")
    (folder / "outside.png").symlink_to("/etc/hostname")
    (folder / "parent.png").symlink_to("..")
    (folder / "folder.png").mkdir()
    paths += [folder / f"{name}.png" for name in ("pipe", "device", "loop", "one", "two", "nowhere", "outside", "parent", "folder")]
    for name in ("line\nend.png", "[bold][link=x].png", "\x1b[31m.png", "\u202egnp.exe.png", "-rf.png", "$(reboot).png", "{0}%s.png"):
        paths.append(folder / name)
        paths[-1].write_bytes(b"not a picture")
    return paths
