"""Builds the model families and what they are measured on. usage: build.py WHEELS TARGET, with the packages of build.lock.

The repository goes to TARGET/families in Triton's layout. TARGET/family-inputs holds sentences.jsonl, a request a line,
and lines.npz, pictures of text with the text, for `punctual evaluate`.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import embeddings
import reading
from build import body
from pinned import sha256

HERE = Path(__file__).resolve().parent
MODELS = {
    "minilm_l6": embeddings.l6,
    "minilm_l6_int8": embeddings.l6_int8,
    "minilm_l3": embeddings.l3,
    "minilm_l3_int8": embeddings.l3_int8,
    "ocr_small": reading.small,
    "ocr_tiny": reading.tiny,
}


def main():
    wheels, target = Path(sys.argv[1]), Path(sys.argv[2])
    hashes = json.loads((HERE / "hashes.json").read_text())
    repository, inputs = target / "families.part", target / "family-inputs.part"
    for folder in (repository, inputs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for name, build in MODELS.items():
        began = time.monotonic()
        model = build(wheels)
        if sha256(model) != hashes.get(name):
            sys.exit(f"{name}: the built model has sha256 {sha256(model)}, expected {hashes.get(name)}")
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1" / "model.onnx").write_bytes(model)
        print(f"{name}: {len(model) / 1e6:.1f} MB in {time.monotonic() - began:.1f} s", flush=True)
    for folder in sorted((HERE / "repository").iterdir()):
        shutil.copytree(folder, repository / folder.name, dirs_exist_ok=True)
    lines = [json.dumps(body(request)) for request in embeddings.requests(wheels)]
    (inputs / "sentences.jsonl").write_text("\n".join(lines) + "\n")
    np.savez(inputs / "lines.npz", **reading.rows(wheels))
    for folder, final in ((repository, target / "families"), (inputs, target / "family-inputs")):
        shutil.rmtree(final, ignore_errors=True)
        folder.rename(final)


if __name__ == "__main__":
    main()
