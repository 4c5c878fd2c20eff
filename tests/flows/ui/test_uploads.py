"""Hundreds of bad files that a browser sends: each is refused with one reason or read as the curate stage reads it, and leaves nothing else."""

import asyncio
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from flows.ui import uploads
from flows.ui.app import make_app
from flows.ui.guard import WRITE, Access
from tasks import artifacts
from tasks.pictures.reading import UnusableError, check_file, read_picture
from tasks.settings import load_settings
from tests.support.bad_pictures import bytes_of, encoded, picture

pytestmark = pytest.mark.slow
NAMES = [
    "../../params.yaml",
    "/etc/passwd",
    "..\\..\\dvc.yaml",
    "line\nend.png",
    "<img src=x onerror=alert(1)>.png",
    "{{7*7}}.png",
    "\u202egnp.exe.png",
    "\x1b[31m.png",
    "\0.png",
    "-rf.png",
    "$(reboot).png",
    "captions.yaml",
    ".hidden",
    "",
    "x" * 500,
]
RIGHTS = {"source": "a test", "licence": "CC0-1.0", "consent": "no people"}


@pytest.fixture
def browser(catalog: Path) -> TestClient:
    access = Access()
    return TestClient(make_app(access, ThreadPoolExecutor(1)), base_url="http://127.0.0.1", headers={WRITE: access.write_token})


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def files(folder: Path) -> Iterator[str]:
    """Yield the paths of the files below a folder, without DVC's and Git's own."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).parts[0] not in (".git", ".dvc"):
            yield path.relative_to(folder).as_posix()


def reason_of_curate(path: Path) -> str | None:
    curate = load_settings().curate
    try:
        check_file(path)
        read_picture(path, 64, curate.min_side, curate.max_pixels)
    except UnusableError as reason:
        return str(reason)
    return None


def test_each_bad_file_is_refused_with_one_reason_or_read_as_curate_reads(browser: TestClient, catalog: Path, scratch: Path, tmp_path: Path) -> None:
    before, sent, accepted = set(files(catalog)), dict(bytes_of()), set()
    for name, data in sent.items():
        (path := tmp_path / "as-a-file").write_bytes(data)
        expected, answer = reason_of_curate(path), browser.put("/api/uploads", content=data)
        if expected is None:
            assert answer.status_code == 200, f"{name}: {answer.text}"
            accepted.add(answer.json()["id"])
            shown = browser.get(f"/thumbnails/{answer.json()['id']}")
            assert Image.open(BytesIO(shown.content)).format == "PNG", name
        else:
            assert (answer.status_code, answer.json()) == (400, {"error": expected}), name
            assert expected.isprintable() and 0 < len(expected) < 200, name
    assert len(sent) > 200 and len(sent) - len(accepted) > 100
    assert set(files(catalog)) - before == {(uploads.UPLOADS / key).as_posix() for key in accepted}
    assert not list(scratch.iterdir())


def test_a_file_beyond_the_limit_leaves_nothing(browser: TestClient, catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 2**20)
    before = list(files(catalog))
    answer = browser.put("/api/uploads", content=bytes(2**20 + 1))
    assert answer.status_code == 400 and "1 MiB" in answer.json()["error"]
    assert list(files(catalog)) == before


def test_an_upload_that_the_browser_gives_up_leaves_nothing(browser: TestClient, catalog: Path) -> None:
    before, answered = list(files(catalog)), list[Any]()
    parts = iter([{"type": "http.request", "body": b"x", "more_body": True}])

    async def receive() -> dict[str, Any]:
        return next(parts, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        answered.append(message.get("status"))

    headers = [(b"host", b"127.0.0.1"), (WRITE.encode(), browser.headers[WRITE].encode())]
    request = {"type": "http", "method": "PUT", "path": "/api/uploads", "headers": headers, "query_string": b"", "scheme": "http"}
    asyncio.run(browser.app(request, receive, send))  # type: ignore[arg-type, func-returns-value]
    assert answered[:1] == [499] and list(files(catalog)) == before


def test_no_name_leaves_the_folder_of_its_concept(browser: TestClient, catalog: Path, scratch: Path) -> None:
    ids = [browser.put("/api/uploads", content=encoded("PNG", picture(seed))).json()["id"] for seed in range(len(NAMES))]
    before = set(files(catalog))
    pictures = [{"id": key, "name": name} for key, name in zip(ids, NAMES, strict=True)]
    verdicts = browser.post("/api/judge", json={"pictures": pictures})
    assert verdicts.status_code == 200 and set(verdicts.json()) == set(ids)
    added = browser.post("/api/concepts", json={"name": "odd", "word": "dog", "pictures": pictures, **RIGHTS})
    assert added.status_code == 200, added.text
    inside = [path.name for path in artifacts.images("odd").iterdir()]
    assert len(inside) == len(NAMES) and all(name.isascii() and name.endswith(".png") and name[0].isalnum() for name in inside), inside
    own = {artifacts.rights("odd").as_posix(), artifacts.pointer(artifacts.images("odd")).as_posix()}
    new = {path for path in set(files(catalog)) - before if not path.startswith(".cache/")}
    assert new == own | {(artifacts.images("odd") / name).as_posix() for name in inside}
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("key", ["../../params.yaml", "/etc/passwd", "a\nb", "<b>", "", "0" * 16])
def test_what_is_no_id_of_an_upload_is_refused(browser: TestClient, key: str) -> None:
    one = {"id": key, "name": "x.png"}
    orders = {"order": {"kind": "reimagine", "prompt": "a dog", "concept": "fox"}, "picture": key or "none"}
    for path, body in (
        ("/api/judge", {"pictures": [one]}),
        ("/api/words", {"pictures": [key]}),
        ("/api/concepts", {"name": "odd2", "word": "dog", "pictures": [one], **RIGHTS}),
        ("/api/drawings", orders),
    ):
        answer = browser.post(path, json=body)
        assert answer.status_code == 400 and answer.json() == {"error": "this picture is no longer here; add it again"}, path
