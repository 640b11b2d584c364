"""A perceptron 1024-4096-4096-1000 with seeded weights: its time is reading weights, so running rows together pays."""

import numpy as np
from onnx import TensorProto

from graph import Graph

WIDTHS = [1024, 4096, 4096, 1000]
ROWS = 64


def build(_wheels):
    rng = np.random.Generator(np.random.PCG64(7))
    graph, x = Graph(), "x"
    for layer, (width, next_width) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        # Scaled so that activations keep their size from layer to layer (He).
        weights = uniform(rng, (width, next_width)) * np.float32(np.sqrt(6.0 / width))
        last = layer == len(WIDTHS) - 2
        x = graph.dense(x, weights, np.zeros(next_width, np.float32), "y" if last else None)
        x = x if last else graph.node("Relu", [x])
    inputs = [("x", TensorProto.FLOAT, ["batch", WIDTHS[0]])]
    model = graph.model("gemm_mlp", inputs, [("y", TensorProto.FLOAT, ["batch", WIDTHS[-1]])])
    rows = uniform(rng, (ROWS, WIDTHS[0]))
    return model, {"x": rows}, {"x": rows[:1]}


def uniform(rng, shape):
    """Numbers in [-1, 1) made of the generator's raw bits, which no version of numpy may change."""
    count = int(np.prod(shape))
    bits = rng.bit_generator.random_raw((count + 1) // 2).view(np.uint32)[:count]
    return ((bits >> 8).astype(np.float32) / np.float32(1 << 23) - np.float32(1)).reshape(shape)
