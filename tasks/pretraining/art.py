"""The art of the emoji world: pinned npm packages, fetched only for pretraining."""

import io
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.pretraining.nouns import ALL_NOUNS, ALL_THINGS, SHORT_NAMES

PACKAGES = {
    "noto": "emoji-datasource-google@16.0.0",  # Apache-2.0
    "twemoji": "emoji-datasource-twitter@16.0.0",  # CC-BY-4.0
    "fluent": "@lobehub/fluent-emoji-3d@1.1.0",  # MIT
    "openmoji": "openmoji@17.0.0",  # CC-BY-SA-4.0
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",  # MIT
    "emojione": "@iconify-json/emojione@1.2.3",  # CC-BY-4.0
    "noto-v1": "@iconify-json/noto-v1@1.2.5",  # Apache-2.0
    "fxemoji": "@iconify-json/fxemoji@1.2.2",  # Apache-2.0
    "streamline": "@iconify-json/streamline-emojis@1.2.4",  # CC-BY-4.0
    "fluent-line": "@iconify-json/fluent-emoji-high-contrast@1.2.6",  # MIT
    "icon-park": "@iconify-json/icon-park@1.2.4",  # Apache-2.0
    "game-icons": "@iconify-json/game-icons@1.2.4",  # CC-BY-3.0
    "emojione-line": "@iconify-json/emojione-monotone@1.2.1",  # CC-BY-4.0
    "material": "@iconify-json/mdi@1.2.3",  # Apache-2.0
    "tabler": "@iconify-json/tabler@1.2.41",  # MIT
    "lucide": "@iconify-json/lucide@1.2.137",  # ISC
    "phosphor": "@iconify-json/ph@1.2.2",  # MIT
}
TRAINED_STYLES = ("fluent", "noto", "twemoji")
COLOURED_STYLES = (*TRAINED_STYLES, "fluent-flat", "emojione", "noto-v1", "fxemoji", "streamline")
ONE_COLOUR = {
    **dict.fromkeys(("fluent-line", "game-icons", "emojione-line", "material", "tabler", "lucide"), ("currentColor", "{}")),
    "icon-park": ("#2F88FF", "{}"),
    "phosphor": ('opacity=".2"', 'fill="{}"'),  # black lines and a tint
}
"""Icon set of one colour -> the text of that colour in its SVG, and the text that replaces it, with {} for the mean colour of the thing."""
SCORER_STYLES = (*COLOURED_STYLES, *ONE_COLOUR)
"""The styles that the scorer learns from: more artists than the generator imitates. The smaller sets lack some things."""
OTHER_MEANINGS = {
    "icon-park": {"anchor", "heart", "mouse", "palm", "pie", "ring", "seal", "turkey"},
    "game-icons": {"bulb", "palm"},
    "material": {"bread", "chocolate", "mouse", "seal"},
    "tabler": {"mouse"},
    "lucide": {"mouse"},
    "phosphor": {"mouse", "seal"},
}
"""Sets without emoji codes, whose icons are found by the noun -> the nouns that mean something else there."""
VARIANT = {"phosphor": "-duotone"}
"""The suffix of the wanted icons' names in a set that draws each thing several times."""
HELD_OUT_STYLE = "openmoji"
ART_FOLDER = Path(".cache/pretraining/art")  # the default place of the packages
MARGIN = 0.05


def fetch(folder: Path) -> None:
    """Fetch the pinned packages into `folder` with `npm pack`; those that are there are not fetched again."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES.values():
        if not tarball(folder, package).exists():
            # npm prints file names, which would stand before a benchmark's JSON.
            subprocess.run(["npm", "pack", package, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def tarball(folder: Path, package: str) -> Path:
    """Return the path of the file that `npm pack` writes for a package."""
    name, version = package.rsplit("@", 1)
    return folder / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def spellings(codes: list[str]) -> list[str]:
    """Return a character's codes with and without the variation selector `fe0f`, which asks for a picture."""
    return [spelling for code in codes for spelling in (code, code.removesuffix("-fe0f"), f"{code}-fe0f")]


def candidates(style: str, spellings: list[str]) -> list[str]:
    """Return the paths, most likely first, under which a package may hold one character."""
    if style == "noto":
        return [f"package/img/google/64/{spelling}.png" for spelling in spellings]
    if style == "twemoji":
        return [f"package/img/twitter/64/{spelling}.png" for spelling in spellings]
    if style == "fluent":
        return [f"package/assets/{spelling}.webp" for spelling in spellings]
    return [f"package/color/svg/{spelling.upper()}.svg" for spelling in spellings]


def decode(data: bytes, name: str, size: int) -> Image.Image:
    """Return a square RGBA sprite whose visible part fills all but a margin, which leaves room to turn it."""
    if name.endswith(".svg"):
        import resvg_py

        data = bytes(resvg_py.svg_to_bytes(svg_string=data.decode(), width=4 * size))
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    picture = picture.crop(picture.getchannel("A").point(lambda alpha: 255 * (alpha > 16)).getbbox())
    scale = (1 - 2 * MARGIN) * size / max(picture.size)
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS)
    sprite = Image.new("RGBA", (size, size))
    sprite.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return sprite


def load_sprites(folder: Path, style: str, size: int = 64) -> np.ndarray:
    """Return the sprites of one style in the order of `ALL_THINGS`; a thing that the set lacks is transparent.

    Returns:
        (things, size, size, 4) uint8, straight alpha.

    Raises:
        FileNotFoundError: a thing has no picture in a style that the generator learns or is tested on.
    """
    cache = folder / f"{style}-{size}-{len(ALL_THINGS)}.npy"
    if cache.exists():
        return np.load(cache)
    with tarfile.open(tarball(folder, PACKAGES["noto"])) as archive:
        characters = {entry["short_name"]: entry for entry in json.load(archive.extractfile("package/emoji.json"))}  # type: ignore[arg-type]
    entries = [characters[SHORT_NAMES[thing]] for thing in ALL_THINGS]
    codes = [spellings([code.lower() for code in (entry["unified"], entry["non_qualified"]) if code]) for entry in entries]
    if not PACKAGES[style].startswith("@iconify-json/"):
        files = read_files(folder, style, codes)
    elif style in OTHER_MEANINGS:
        files = read_icons(folder, style, [noun + VARIANT.get(style, "") if noun not in OTHER_MEANINGS[style] else "" for noun in ALL_NOUNS])
    else:
        with tarfile.open(tarball(folder, PACKAGES["fluent-flat"])) as archive:
            words = json.load(archive.extractfile("package/chars.json"))  # type: ignore[arg-type]
        files = read_icons(folder, style, [next((words[code] for code in spelled if code in words), "") for spelled in codes])
    if style in ONE_COLOUR:
        coloured = load_sprites(folder, "noto", size)
        old, new = ONE_COLOUR[style]
        files = {
            index: (data.replace(old.encode(), new.format(mean_colour(coloured[index])).encode()), name) for index, (data, name) in files.items()
        }
    missing = [noun for index, noun in enumerate(ALL_THINGS) if index not in files]
    if missing and style in (*TRAINED_STYLES, HELD_OUT_STYLE):
        raise FileNotFoundError(f"{PACKAGES[style]} has no picture of {', '.join(missing)}; change these nouns in nouns.py")
    sprites = np.zeros((len(ALL_THINGS), size, size, 4), np.uint8)
    for index, (data, name) in files.items():
        sprites[index] = np.asarray(decode(data, name, size))
    np.save(cache, sprites)
    return sprites


def read_files(folder: Path, style: str, codes: list[list[str]]) -> dict[int, tuple[bytes, str]]:
    """Return thing index -> (bytes, name) of its first candidate in a package of picture files."""
    options = [candidates(style, spelled) for spelled in codes]
    wanted = {path: index for index, paths in enumerate(options) for path in paths}
    best: dict[int, tuple[int, bytes, str]] = {}
    with tarfile.open(tarball(folder, PACKAGES[style])) as archive:
        for member in archive:
            index = wanted.get(member.name, -1)
            if index >= 0:
                rank = options[index].index(member.name)
                if index not in best or rank < best[index][0]:
                    best[index] = (rank, archive.extractfile(member).read(), member.name)  # type: ignore[union-attr]
    return {index: (data, name) for index, (_, data, name) in best.items()}


def mean_colour(sprite: np.ndarray) -> str:
    """Return the mean colour of a sprite (size, size, 4), as SVG spells it."""
    return "#{:02x}{:02x}{:02x}".format(*sprite[sprite[..., 3] > 128, :3].mean(axis=0).astype(int))


def read_icons(folder: Path, style: str, words: list[str]) -> dict[int, tuple[bytes, str]]:
    """Return the index of each word -> (SVG, name) of the icon of that name in an icon set."""
    with tarfile.open(tarball(folder, PACKAGES[style])) as archive:
        icons = json.load(archive.extractfile("package/icons.json"))  # type: ignore[arg-type]
    parents = {name: alias["parent"] for name, alias in icons.get("aliases", {}).items()} | {name: name for name in icons["icons"]}
    named = {compact(name): parent for name, parent in parents.items()}
    files = {}
    for index, word in enumerate(words):
        icon = icons["icons"].get(named.get(compact(word)))
        if icon:
            box = f'viewBox="0 0 {icon.get("width", icons["width"])} {icon.get("height", icons["height"])}"'
            names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            files[index] = (f"<svg {names} {box}>{icon['body']}</svg>".encode(), f"{word}.svg")
    return files


def compact(name: str) -> str:
    """Spell an icon's name as every set spells it: `fire-engine`, `fire-engine-1` and `fireengine` are one."""
    return name.removesuffix("-1").replace("-", "")
