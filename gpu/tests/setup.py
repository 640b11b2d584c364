"""Fetches and makes what the tests on a GPU need, where there is one; elsewhere says so and ends well.

usage: setup.py [--anyway]    (any Python >= 3.9 with pip and venv; 2 GB are fetched into target/onnxruntime-gpu)
"""

import ctypes
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "models" / "examples"
sys.path.insert(0, str(EXAMPLES))

from pinned import TARGET, environment, sha256, wheels  # noqa: E402  (it lies beside the example models)

LOCK = HERE / "cuda.lock"
MAKE = HERE / "models" / "make.py"
# TensorRT's provider needs TensorRT, which nothing here uses.
LEFT_OUT = "tensorrt"


def main():
    if sys.argv[1:] not in ([], ["--anyway"]):
        sys.exit(__doc__)
    if not sys.argv[1:] and not driver():
        print("no NVIDIA driver on this machine: nothing is fetched, and the tests on a GPU say that they are skipped")
        return
    libraries(TARGET / "onnxruntime-gpu")
    models(TARGET / "onnxruntime" / "models")


def driver():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def libraries(folder):
    """The runtime in FOLDER/lib and NVIDIA's libraries in FOLDER/cuda."""
    stamp = folder / "made-of"
    made_of = sha256(LOCK.read_bytes())
    if stamp.exists() and stamp.read_text() == made_of:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for place in ("lib", "cuda"):
        (folder / place).mkdir(parents=True)
    fetched = wheels(LOCK, "cuda")
    for wheel in sorted(fetched.glob("*.whl")):
        unpack(wheel, folder)
    shutil.rmtree(fetched)
    runtime = next((folder / "lib").glob("libonnxruntime.so.*"))
    (folder / "lib" / "libonnxruntime.so").symlink_to(runtime.name)
    stamp.write_text(made_of)
    print(f"{runtime.name} for CUDA and NVIDIA's libraries are in {folder}")


def unpack(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = Path(member.filename).name
            if ".so" not in name or LEFT_OUT in name or name.startswith("onnxruntime_pybind11"):
                continue
            place = folder / ("lib" if member.filename.startswith("onnxruntime/") else "cuda") / name
            with archive.open(member) as source, open(place, "wb") as target:
                shutil.copyfileobj(source, target)


def models(folder):
    if all((folder / f"{name}.onnx").exists() for name in ("mlp", "transformer", "resnet")):
        return
    python = environment("examples", EXAMPLES / "build.lock")
    beside = folder.with_name("models.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    subprocess.run([python, MAKE, "--large", beside], check=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(beside, folder)


if __name__ == "__main__":
    main()
