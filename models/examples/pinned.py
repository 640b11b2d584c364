"""What pip fetches, held to the hashes in a lock file: wheels to unpack, and virtual environments. Needs only Python >= 3.9."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from fetch_onnxruntime import check_pip

TARGET = Path(__file__).resolve().parents[2] / "target"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def environment(name, lock):
    """The Python of the virtual environment target/venv/NAME, made anew where its lock file or this Python changed."""
    folder = TARGET / "venv" / name
    python = folder / "bin" / "python"
    made_of = f"{sys.version}\n{folder}\n{sha256(lock.read_bytes())}\n"
    stamp = folder / "made-of"
    if stamp.exists() and stamp.read_text() == made_of and python.exists():
        return python
    print(f"making target/venv/{name} from {lock.name}", flush=True)
    check_pip()
    shutil.rmtree(folder, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", str(folder)], stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit(f"{sys.executable} cannot make a virtual environment. Install venv: 'apt-get install python3-venv'.")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    if subprocess.run([*install, "--require-hashes", "-r", lock]).returncode != 0:
        sys.exit(f"pip could not install {lock.name} (above it says why); its wheels exist for CPython 3.9 to 3.13")
    stamp.write_text(made_of)
    return python


def wheels(lock, name):
    """The folder target/wheels/NAME with the wheels of a lock file, the same ones whatever Python runs this."""
    folder = TARGET / "wheels" / name
    made_of = sha256(lock.read_bytes())
    stamp = folder / "made-of"
    if stamp.exists() and stamp.read_text() == made_of:
        return folder
    print(f"fetching the wheels of {lock.name}", flush=True)
    check_pip()
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp"]
    command += ["--abi", "cp311", "--abi", "none"]
    for platform in ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64", "any"):
        command += ["--platform", platform]
    if subprocess.run([*command, "-d", folder, "-r", lock]).returncode != 0:
        sys.exit(f"pip could not fetch the wheels of {lock.name} (above it says why)")
    stamp.write_text(made_of)
    return folder
