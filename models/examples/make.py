"""Makes the example models in target/examples and their real inputs in target/example-inputs; at once where both stand.

usage: make.py    (any Python >= 3.9 with pip and venv; the building itself runs in target/venv/examples)
"""

import subprocess
from pathlib import Path

from pinned import TARGET, environment, sha256, wheels

HERE = Path(__file__).resolve().parent


def main():
    made_of = sha256(b"".join(sorted(sha256(path.read_bytes()).encode() + path.name.encode() for path in sources())))
    stamp = TARGET / "examples.made-of"
    if stamp.exists() and stamp.read_text() == made_of and (TARGET / "examples").is_dir():
        return
    stamp.unlink(missing_ok=True)
    python = environment("examples", HERE / "build.lock")
    unpacked = wheels(HERE / "wheels.lock", "examples")
    subprocess.run([python, HERE / "build.py", unpacked, TARGET], check=True)
    stamp.write_text(made_of)


def sources():
    return [path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


if __name__ == "__main__":
    main()
