"""Builds every example model and its inputs. usage: build.py WHEELS TARGET, with the packages of build.lock.

The repository goes to TARGET/examples in Triton's layout, the inputs to TARGET/example-inputs: MODEL.json is a request body
of the Open Inference Protocol that can be sent as it is; MODEL.npz holds more rows, with the answers expected where known.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

import digits
import gemm_mlp
import minilm
import ocr_direction
import silero_vad
from pinned import sha256

HERE = Path(__file__).resolve().parent
MODELS = {
    "digits_logreg": digits.logreg,
    "digits_logits": digits.logits,
    "digits_mlp_128": digits.mlp_128,
    "digits_mlp_256x256": digits.mlp_256x256,
    "digits_kernel_899": digits.kernel_899,
    "digits_kernel_4495": digits.kernel_4495,
    "gemm_mlp": gemm_mlp.build,
    "minilm": minilm.build,
    "ocr_direction": ocr_direction.build,
    "silero_vad": silero_vad.build,
}
# Folders with nothing but settings, which name models.
TASKS = ["digits"]
DATATYPES = {"float32": "FP32", "int64": "INT64"}


def main():
    wheels, target = Path(sys.argv[1]), Path(sys.argv[2])
    hashes = json.loads((HERE / "hashes.json").read_text())
    repository, inputs = target / "examples.part", target / "example-inputs.part"
    for folder in (repository, inputs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for name, build in MODELS.items():
        began = time.monotonic()
        model, rows, request = build(wheels)
        if sha256(model) != hashes[name]:
            sys.exit(f"{name}: the built model has sha256 {sha256(model)}, expected {hashes[name]}")
        shutil.copytree(HERE / "repository" / name, repository / name)
        (repository / name / "1").mkdir()
        (repository / name / "1" / "model.onnx").write_bytes(model)
        np.savez(inputs / f"{name}.npz", **rows)
        (inputs / f"{name}.json").write_text(json.dumps(body(request)) + "\n")
        print(f"{name}: {len(model) / 1e6:.1f} MB in {time.monotonic() - began:.1f} s", flush=True)
    for name in TASKS:
        shutil.copytree(HERE / "repository" / name, repository / name)
    for folder, final in ((repository, target / "examples"), (inputs, target / "example-inputs")):
        shutil.rmtree(final, ignore_errors=True)
        folder.rename(final)


def body(request):
    """A request in the protocol's JSON form."""
    return {
        "inputs": [
            {
                "name": name,
                "datatype": DATATYPES[str(array.dtype)],
                "shape": list(array.shape),
                "data": [float(f"{value:.9g}") if array.dtype.kind == "f" else int(value) for value in array.ravel()],
            }
            for name, array in request.items()
        ]
    }


if __name__ == "__main__":
    main()
