"""The digit classifiers trained by digits/train.py, and the images that they have not seen."""

import gzip
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent / "digits"


def images():
    """All images as rows of 64 numbers in [0, 1], their digits, and which rows are held out (the odd ones)."""
    with gzip.open(FOLDER / "digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    return (table[:, :64] / 16).astype(np.float32), table[:, 64].astype(np.int64), np.arange(len(table)) % 2 == 1


def logreg(_wheels):
    return example("logreg")


def logits(_wheels):
    return example("logits")


def mlp_128(_wheels):
    return example("mlp_128")


def mlp_256x256(_wheels):
    return example("mlp_256x256")


def kernel_899(_wheels):
    return example("kernel_899")


def kernel_4495(_wheels):
    return example("kernel_4495")


def example(name):
    x, digit, held_out = images()
    return (FOLDER / f"{name}.onnx").read_bytes(), {"x": x[held_out], "digit": digit[held_out]}, {"x": x[held_out][:1]}
