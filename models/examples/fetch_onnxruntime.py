"""Fetches the pinned ONNX Runtime library out of its PyPI wheel into a folder, and checks every hash on the way.

usage: fetch_onnxruntime.py FOLDER    (any Python >= 3.9 with pip; needs nothing else)
"""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "1.31.1"
LOCK = Path(__file__).with_name("onnxruntime.lock")
LIBRARY = f"libonnxruntime.so.{VERSION}"
# sha256 of each file that is taken, by machine. The library inside all wheels of one machine is the same.
FILES = {
    "x86_64": {
        f"capi/{LIBRARY}": "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
        "capi/libonnxruntime_providers_shared.so": "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d",
    },
    "aarch64": {
        f"capi/{LIBRARY}": "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
        "capi/libonnxruntime_providers_shared.so": "3b6be288fbfb7dff8770d08a23defdde18e8f7e0f5a2b344a0e5e238c999ea88",
    },
}
TEXTS = {
    "LICENSE": "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c",
    "ThirdPartyNotices.txt": "143764b952fdb1a7c69ce653bfba74a7744d6a8a573bfb73e235fba356c83de3",
}


def main():
    folder = Path(sys.argv[1])
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in FILES:
        sys.exit(
            f"ONNX Runtime {VERSION} is pinned for Linux on x86_64 and aarch64; this is {platform.system()} on {machine}. "
            f"Install ONNX Runtime >= 1.24 yourself and name its library in ORT_DYLIB_PATH."
        )
    check_pip()
    with tempfile.TemporaryDirectory() as scratch:
        extract(download(machine, scratch), {**FILES[machine], **TEXTS}, folder)
    # Made last: its presence says that the folder is whole.
    link(folder / "libonnxruntime.so", LIBRARY)
    print(f"onnxruntime {VERSION} for {machine} is in {folder}")


def check_pip():
    """Ends with the sentence that helps where this Python has no pip."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        sys.exit(
            f"{sys.executable} has no pip, which fetches the pinned packages. Install it: "
            "'apt-get install python3-pip python3-venv' (Debian, Ubuntu), 'dnf install python3-pip' (Fedora), "
            "or 'python3 -m ensurepip --user' (other builds of Python)."
        )


def download(machine, scratch):
    """Lets pip fetch the wheel for CPython 3.11, whatever Python runs this: only its native library is used."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp"]
    command += ["--abi", "cp311", "--platform", f"manylinux_2_28_{machine}", "-d", scratch, "-r", str(LOCK)]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"pip could not fetch onnxruntime {VERSION} (above it says why); is a package index reachable?")
    return next(Path(scratch).glob("*.whl"))


def extract(wheel, files, folder):
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name, expected in files.items():
            content = archive.read(f"onnxruntime/{name}")
            found = hashlib.sha256(content).hexdigest()
            if found != expected:
                sys.exit(f"{wheel.name}: {name} has sha256 {found}, expected {expected}")
            write(folder / Path(name).name, content)


def write(path, content):
    """Replaces a file whole, so that a running server keeps the one it has mapped."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(content)
    os.replace(beside, path)


def link(path, target):
    beside = path.with_name(path.name + ".part")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    os.replace(beside, path)


if __name__ == "__main__":
    main()
