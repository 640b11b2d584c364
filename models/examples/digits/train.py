"""Trains the digit classifiers with numpy on the even rows of digits.csv.gz and writes them beside this file.

usage: train.py    (target/venv/examples/bin/python has what it needs)
The seed is fixed; another processor's linear algebra may still round differently, so the files made are kept in git.
"""

import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from digits import FOLDER, images
from graph import Graph

# Hidden widths and passes over the training rows, by name.
FAMILY = {"logreg": ([], 150), "mlp_128": ([128], 60), "mlp_256x256": ([256, 256], 40)}
# Kernel machines: how the training scans are shifted, in rows and columns of a pixel, by name.
STILL = [(0, 0)]
SHIFTED = [(0, 0), (-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)]
KERNELS = {"kernel_899": STILL, "kernel_4495": SHIFTED}
WIDTHS, RIDGE = (0.15, 0.3, 0.5, 0.8), 0.1
# Their scores, which aim at -1 and 1, to logits: makes one of them a probability of 0.98 against nine wrong.
SHARPNESS = 3
ROWS_PER_STEP = 64
RATE, DECAY = 1e-3, 1e-4


def main():
    x, digit, held_out = images()
    for name, (hidden, passes) in FAMILY.items():
        layers = train(x[~held_out], digit[~held_out], [64, *hidden, 10], passes)
        accuracy = np.mean(forward(layers, x[held_out])[-1].argmax(axis=1) == digit[held_out])
        write(name, export(name, layers), accuracy, held_out)
        if not hidden:
            write("logits", export_logits(*layers), accuracy, held_out)
    width = kernel_width(x[~held_out].astype(np.float64), digit[~held_out])
    for name, shifts in KERNELS.items():
        centres = np.concatenate([shifted(x[~held_out].astype(np.float64), *by) for by in shifts])
        weights = fit(centres, np.tile(digit[~held_out], len(shifts)), width)
        accuracy = np.mean((kernel(x[held_out], centres, width) @ weights).argmax(axis=1) == digit[held_out])
        write(name, export_kernel(name, centres, weights, width), accuracy, held_out)


def write(name, model, accuracy, held_out):
    (FOLDER / f"{name}.onnx").write_bytes(model)
    print(f"{name}: {len(model) / 1e3:.0f} kB, accuracy on {held_out.sum()} held-out rows {accuracy:.4f}")


def kernel_width(x, digit):
    """The width that is best on thirds of the training rows, each by a machine of the other two."""
    third = np.arange(len(x)) % 3

    def right(width):
        hits = 0
        for part in range(3):
            weights = fit(x[third != part], digit[third != part], width)
            guess = (kernel(x[third == part], x[third != part], width) @ weights).argmax(axis=1)
            hits += np.sum(guess == digit[third == part])
        return hits

    return max(WIDTHS, key=right)


def kernel(x, centres, width):
    """exp(-width |x - centre|^2) of each row and centre."""
    distance = (x**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)[None] - 2 * x @ centres.T
    return np.exp(-width * distance)


def fit(centres, digit, width):
    """Kernel ridge regression onto 1 for the digit and -1 for the others."""
    aims = 2 * np.eye(10)[digit] - 1
    return np.linalg.solve(kernel(centres, centres, width) + RIDGE * np.eye(len(centres)), aims)


def shifted(x, down, right):
    """Scans moved by a part of a pixel, by straight interpolation with their neighbours."""
    for by, axis in ((down, 1), (right, 2)):
        images = np.pad(x.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
        moved = np.roll(images, int(np.sign(by)), axis=axis)
        x = ((1 - abs(by)) * images + abs(by) * moved)[:, 1:9, 1:9].reshape(-1, 64)
    return x


def train(x, digit, widths, passes):
    """Adam on the cross entropy, with weight decay."""
    rng = np.random.default_rng(7)
    layers = []
    for width, next_width in zip(widths, widths[1:]):
        layers += [rng.normal(0, np.sqrt(2 / width), (width, next_width)), np.zeros(next_width)]
    moments = [(np.zeros_like(layer), np.zeros_like(layer)) for layer in layers]
    step = 0
    for _ in range(passes):
        order = rng.permutation(len(x))
        for start in range(0, len(order), ROWS_PER_STEP):
            rows, step = order[start : start + ROWS_PER_STEP], step + 1
            for layer, slope, (mean, square) in zip(layers, slopes(layers, x[rows], digit[rows]), moments):
                mean += 0.1 * (slope - mean)
                square += 0.001 * (slope * slope - square)
                change = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
                layer -= RATE * change + RATE * DECAY * layer
    return [layer.astype(np.float32) for layer in layers]


def forward(layers, x):
    """The values before and after each layer: x, hidden values after the rectifier, and last the logits."""
    values = [x]
    for weights, bias in zip(layers[::2], layers[1::2]):
        x = x @ weights + bias
        values.append(x)
        x = np.maximum(x, 0)
    return [values[0], *(np.maximum(value, 0) for value in values[1:-1]), values[-1]]


def slopes(layers, x, digit):
    values = forward(layers, x)
    odds = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True)
    error[np.arange(len(digit)), digit] -= 1
    error /= len(digit)
    found = []
    for index in reversed(range(0, len(layers), 2)):
        value = values[index // 2]
        found = [value.T @ error, error.sum(axis=0), *found]
        error = (error @ layers[index].T) * (value > 0)
    return found


def export(name, layers):
    graph, x = Graph(), "x"
    pairs = list(zip(layers[::2], layers[1::2]))
    for index, (weights, bias) in enumerate(pairs):
        x = graph.dense(x, weights, bias)
        x = x if index == len(pairs) - 1 else graph.node("Relu", [x])
    return classifier(name, graph, x)


def export_logits(weights, bias):
    """The linear classifier without the softmax behind it: what coded redundancy can add up."""
    graph = Graph()
    graph.dense("x", weights, bias, "logits")
    return graph.model(
        "digits_logits", [("x", TensorProto.FLOAT, ["batch", 64])], [("logits", TensorProto.FLOAT, ["batch", 10])]
    )


def export_kernel(name, centres, weights, width):
    graph, numbers = Graph(), lambda array: np.asarray(array, np.float32)
    far = graph.dense("x", numbers(2 * width * centres.T), numbers(-width * (centres**2).sum(axis=1)))
    own = graph.node("ReduceSumSquare", ["x"], axes=[1], keepdims=1)
    own = graph.node("Mul", [own, graph.constant(numbers(-width))])
    near = graph.node("Exp", [graph.node("Add", [far, own])])
    return classifier(name, graph, graph.dense(near, numbers(SHARPNESS * weights), np.zeros(10, np.float32)))


def classifier(name, graph, x):
    graph.node("Softmax", [x], "probabilities", axis=1)
    graph.node("ArgMax", [x], "digit", axis=1, keepdims=1)
    outputs = [("digit", TensorProto.INT64, ["batch", 1]), ("probabilities", TensorProto.FLOAT, ["batch", 10])]
    return graph.model(f"digits_{name}", [("x", TensorProto.FLOAT, ["batch", 64])], outputs)


if __name__ == "__main__":
    main()
