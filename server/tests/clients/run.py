"""Runs every test_*.py here with real clients against a server program. usage: run.py [PUNCTUAL [TEST_FILE ..]]

Each file has a process of its own: tritonclient and kserve both register the protocol's messages under the same names.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "models" / "examples"))
from pinned import environment  # noqa: E402


def main():
    program = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "debug" / "punctual").resolve()
    if not program.exists():
        sys.exit(f"{program} is missing: cargo build -p server")
    if not (3, 11) <= sys.version_info < (3, 14):
        version = ".".join(map(str, sys.version_info[:2]))
        print(f"all clients ... skipped 'they are pinned for Python 3.11 to 3.13, this is {version}: make test PYTHON=python3.12'")
        print("0 passed, 0 failed, 1 skipped")
        return
    python = environment("clients", HERE / "clients.lock")
    environ = {**os.environ, "PUNCTUAL": str(program), "PYTHONDONTWRITEBYTECODE": "1"}
    failed = []
    for name in sys.argv[2:] or sorted(path.stem for path in HERE.glob("test_*.py")):
        print(f"-- {name}", flush=True)
        if subprocess.run([python, "-m", "unittest", "-v", name], cwd=HERE, env=environ, stderr=subprocess.STDOUT).returncode != 0:
            failed.append(name)
    if failed:
        sys.exit(f"FAILED: {' '.join(failed)}")


if __name__ == "__main__":
    main()
