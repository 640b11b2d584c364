"""Makes the example models in target/examples and their real inputs in target/example-inputs; at once where both stand.

usage: make.py [families]    (any Python >= 3.9 with pip and venv; the building itself runs in target/venv/examples)
With `families` those of families/ in target/families and target/family-inputs: 300 MB are fetched for them.
"""

import subprocess
import sys
from pathlib import Path

from pinned import TARGET, environment, sha256, wheels

HERE = Path(__file__).resolve().parent


def main():
    if sys.argv[1:] == ["families"]:
        make("families", HERE / "families")
    elif not sys.argv[1:]:
        make("examples", HERE)
    else:
        sys.exit(__doc__)


def make(name, folder):
    made_of = sha256(b"".join(sorted(sha256(path.read_bytes()).encode() + path.name.encode() for path in sources(folder))))
    stamp = TARGET / f"{name}.made-of"
    if stamp.exists() and stamp.read_text() == made_of and (TARGET / name).is_dir():
        return
    stamp.unlink(missing_ok=True)
    python = environment("examples", HERE / "build.lock")
    unpacked = wheels(folder / "wheels.lock", name)
    subprocess.run([python, folder / "build.py", unpacked, TARGET], check=True)
    stamp.write_text(made_of)


def sources(folder):
    """What the models are made of: the families need all of it, the examples nothing of the families."""
    files = [path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path for path in files if folder != HERE or HERE / "families" not in path.parents]


if __name__ == "__main__":
    main()
