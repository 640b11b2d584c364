"""Makes the ONNX models of these tests, each a few hundred bytes: python make.py (needs the onnx package).

`python make.py --mlp FILE` writes the large Gemm-bound one instead (1024-4096-4096-1000, 98 MB, seeded weights), and
`python make.py --large FOLDER` that one with a transformer and a residual convolution net, for the tests on a GPU.
"""

import pathlib
import sys

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper, save_model

HERE = pathlib.Path(__file__).parent
TYPES = "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FLOAT16 BFLOAT16 FLOAT DOUBLE STRING".split()


def value(name, kind, *dims):
    return h.make_tensor_value_info(name, kind, list(dims))


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def write(path, nodes, inputs, outputs, constants=()):
    graph = h.make_graph(nodes, path.stem, inputs, outputs, list(constants))
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    save_model(model, path)


def mlp(path, sizes, seed):
    """Dense layers with ReLU between; rows do not touch each other."""
    random = np.random.default_rng(seed)
    nodes, constants, last = [], [], "x"
    for layer, (rows, columns) in enumerate(zip(sizes, sizes[1:])):
        weights = random.standard_normal((rows, columns), dtype=np.float32) / np.float32(np.sqrt(rows))
        constants += [constant(f"w{layer}", weights), constant(f"b{layer}", np.zeros(columns, np.float32))]
        final = layer == len(sizes) - 2
        out = "y" if final else f"h{layer}"
        nodes.append(h.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [out]))
        if not final:
            nodes.append(h.make_node("Relu", [out], [f"r{layer}"]))
        last = f"r{layer}"
    write(path, nodes, [value("x", T.FLOAT, "N", sizes[0])], [value("y", T.FLOAT, "N", sizes[-1])], constants)


def small():
    kinds = [(name.lower(), getattr(T, name)) for name in TYPES]
    write(  # every element type in, the same out
        HERE / "every_type.onnx",
        [h.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name, _ in kinds],
        [value(f"in_{name}", kind, "N", 2) for name, kind in kinds],
        [value(f"out_{name}", kind, "N", 2) for name, kind in kinds],
    )
    mlp(HERE / "mlp.onnx", [4, 8, 3], 1)
    table = constant("table", np.arange(40, dtype=np.float32).reshape(10, 4))
    write(  # fails where an index is 10 or more
        HERE / "lookup.onnx",
        [h.make_node("Gather", ["table", "ids"], ["rows"]), h.make_node("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=0)],
        [value("ids", T.INT64, "N", "S")],
        [value("mean", T.FLOAT, "N", 4)],
        [table],
    )
    write(  # looks batched, but each row depends on all
        HERE / "centred.onnx",
        [h.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1), h.make_node("Sub", ["x", "mean"], ["y"])],
        [value("x", T.FLOAT, "N", 3)],
        [value("y", T.FLOAT, "N", 3)],
    )
    write(  # its output is not row per row
        HERE / "summed.onnx",
        [h.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=1)],
        [value("x", T.FLOAT, "N", 3)],
        [value("y", T.FLOAT, "M", 3)],
        [constant("axis", np.array([0], np.int64))],
    )
    write(  # no batch axis: two inputs of fixed shape, a scalar and a tensor out
        HERE / "fixed.onnx",
        [h.make_node("Add", ["a", "b"], ["sum"]), h.make_node("ReduceMax", ["sum"], ["max"], keepdims=0)],
        [value("a", T.FLOAT, 3, 2), value("b", T.FLOAT, 3, 2)],
        [value("sum", T.FLOAT, 3, 2), value("max", T.FLOAT)],
    )
    write(  # its free axis must be a multiple of 8
        HERE / "eights.onnx",
        [h.make_node("Reshape", ["x", "shape"], ["split"]), h.make_node("ReduceSum", ["split", "axis"], ["y"], keepdims=0)],
        [value("x", T.FLOAT, "N", "S")],
        [value("y", T.FLOAT, "N", "K")],
        [constant("shape", np.array([0, -1, 8], np.int64)), constant("axis", np.array([2], np.int64))],
    )


class Net:
    """Nodes and seeded weights, each node reading what the last one wrote unless told otherwise."""

    def __init__(self, seed):
        self.random, self.nodes, self.constants, self.last = np.random.default_rng(seed), [], [], "x"

    def weight(self, *shape):
        scale = np.float32(1 / np.sqrt(np.prod(shape[1:]) if len(shape) == 4 else shape[0]))
        name = f"w{len(self.constants)}"
        self.constants.append(constant(name, self.random.standard_normal(shape, dtype=np.float32) * scale))
        return name

    def fixed(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(constant(name, array))
        return name

    def add(self, op, *inputs, **attributes):
        self.last, before = f"t{len(self.nodes)}", self.last
        self.nodes.append(h.make_node(op, list(inputs) or [before], [self.last], **attributes))
        return self.last

    def write(self, path, ins, outs):
        self.add("Identity")
        self.nodes[-1].output[0] = "y"
        write(path, self.nodes, [value("x", T.FLOAT, "N", *ins)], [value("y", T.FLOAT, "N", *outs)], self.constants)


def transformer(path, layers=6, width=384, heads=12, length=128):
    """An encoder the size of MiniLM, without its embedding table."""
    net = Net(3)
    ones, zeros = net.fixed(np.ones(width, np.float32)), net.fixed(np.zeros(width, np.float32))
    split = net.fixed(np.array([0, length, heads, width // heads], np.int64))
    join = net.fixed(np.array([0, length, width], np.int64))
    scale = net.fixed(np.float32(1 / np.sqrt(width // heads)))

    def project(source, order):
        net.add("Reshape", net.add("MatMul", source, net.weight(width, width)), split)
        return net.add("Transpose", perm=order)

    for _ in range(layers):
        inside = net.last
        q, k, v = project(inside, [0, 2, 1, 3]), project(inside, [0, 2, 3, 1]), project(inside, [0, 2, 1, 3])
        net.add("Softmax", net.add("Mul", net.add("MatMul", q, k), scale), axis=-1)
        net.add("Transpose", net.add("MatMul", net.last, v), perm=[0, 2, 1, 3])
        net.add("MatMul", net.add("Reshape", net.last, join), net.weight(width, width))
        middle = net.add("LayerNormalization", net.add("Add", net.last, inside), ones, zeros)
        net.add("Relu", net.add("MatMul", middle, net.weight(width, 4 * width)))
        net.add("MatMul", net.last, net.weight(4 * width, width))
        net.add("LayerNormalization", net.add("Add", net.last, middle), ones, zeros)
    net.write(path, (length, width), (length, width))


def resnet(path):
    """Bottleneck blocks in ResNet-50's arrangement, without normalisation (folded in a served model)."""
    net = Net(4)

    def conv(source, outs, ins, size, stride=1):
        return net.add("Conv", source, net.weight(outs, ins, size, size), strides=[stride] * 2, pads=[size // 2] * 4)

    net.add("Relu", conv("x", 64, 3, 7, 2))
    net.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    ins = 64
    for stage, blocks in enumerate([3, 4, 6, 3]):
        inner = 64 << stage
        for block in range(blocks):
            stride, source = (2 if block == 0 and stage else 1), net.last
            short = conv(source, 4 * inner, ins, 1, stride) if block == 0 else source
            first = net.add("Relu", conv(source, inner, ins, 1, stride))
            second = net.add("Relu", conv(first, inner, inner, 3))
            net.add("Relu", net.add("Add", conv(second, 4 * inner, inner, 1), short))
            ins = 4 * inner
    net.add("Flatten", net.add("GlobalAveragePool"))
    net.add("MatMul", net.last, net.weight(2048, 1000))
    net.write(path, (3, 224, 224), (1000,))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--large"]:
        folder = pathlib.Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        mlp(folder / "mlp.onnx", [1024, 4096, 4096, 1000], 2)
        transformer(folder / "transformer.onnx")
        resnet(folder / "resnet.onnx")
    elif sys.argv[1:2] == ["--mlp"]:
        mlp(pathlib.Path(sys.argv[2]), [1024, 4096, 4096, 1000], 2)
    else:
        small()
