"""Runs every test_*.py here with real clients against a server program. usage: run.py PUNCTUAL

Each file has a process of its own: tritonclient and kserve both register the protocol's messages under the same names.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "models" / "examples"))
from pinned import environment  # noqa: E402


def main():
    program = Path(sys.argv[1]).resolve()
    if not program.exists():
        sys.exit(f"{program} is missing: cargo build -p server")
    if sys.version_info < (3, 11) or sys.version_info >= (3, 14):
        version = ".".join(map(str, sys.version_info[:2]))
        print(f"skipped: all client tests: the pinned clients need Python 3.11 to 3.13, this is {version} (make test PYTHON=..)")
        print("clients: 0 passed")
        return
    python = environment("clients", HERE / "clients.lock")
    names = sys.argv[2:] or sorted(path.stem for path in HERE.glob("test_*.py"))
    passed, failed = 0, []
    for name in names:
        code, ran, skipped = run(python, program, name)
        passed += ran - skipped
        if code != 0 or ran == 0:
            failed.append(name)
    if failed:
        sys.exit(f"clients: FAILED in {', '.join(failed)}")
    print(f"clients: {passed} passed")


def run(python, program, name):
    environ = {**os.environ, "PUNCTUAL": str(program), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, "-m", "unittest", "-v", name]
    result = subprocess.run(command, cwd=HERE, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(result.stdout, end="", flush=True)
    reasons = re.findall(r"^(\w+) .*\.\.\. skipped ['\"](.*)['\"]$", result.stdout, re.M)
    for test, reason in reasons:
        print(f"skipped: {name}.{test}: {reason}")
    count = re.search(r"^Ran (\d+) tests? in", result.stdout, re.M)
    return result.returncode, int(count[1]) if count else 0, len(reasons)


if __name__ == "__main__":
    main()
