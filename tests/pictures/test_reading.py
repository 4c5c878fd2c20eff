"""The picture reader on files that nobody has vetted: a picture or one reason, within bounds of memory."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.bad_pictures import write_bad_pictures

GIGABYTE = 1 << 30
PROGRAM = """
import json, resource, sys
from pathlib import Path
from tasks.pictures.reading import UnusableError, check_file, read_picture
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
said = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        check_file(path)
        picture = read_picture(path, 64, 48, 178_000_000)
        said[ascii(path.name)] = [picture.image.mode, *picture.image.size]
    except UnusableError as reason:
        said[ascii(path.name)] = str(reason)
print(json.dumps(said))
"""


def test_every_bad_picture_is_read_or_refused_with_one_reason_within_a_gigabyte(tmp_path: Path) -> None:
    paths = write_bad_pictures(tmp_path / "bad")
    assert len(set(paths)) > 250
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "bad"), str(GIGABYTE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert len(said) == len(paths)
    reasons = {name: reason for name, reason in said.items() if isinstance(reason, str)}
    assert len(reasons) > 150 and all(reason.isprintable() and len(reason) < 200 for reason in reasons.values())
    assert all(result == ["RGB", 64, 64] for name, result in said.items() if name not in reasons)
