"""Writes an ONNX graph node by node, with names that follow from the order: the same calls give the same bytes."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Graph:
    """Collects nodes and constants; each method returns the name of what it added."""

    def __init__(self):
        self.nodes = []
        self.constants = []

    def constant(self, array, name=None):
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def scalar(self, value):
        """A constant without dimensions; `constant` gives a single number one dimension."""
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"constant_{len(self.constants)}"))
        return self.constants[-1].name

    def node(self, kind, inputs, output=None, **attributes):
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{len(self.nodes)}", **attributes))
        return output

    def nodes_of(self, kind, inputs, count):
        """A node of several outputs."""
        first = len(self.nodes)
        outputs = [f"{kind.lower()}_{first}_{index}" for index in range(count)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"{kind}_{first}"))
        return outputs

    def dense(self, x, weights, bias, output=None):
        """x @ weights + bias for two-dimensional x."""
        return self.node("Gemm", [x, self.constant(weights), self.constant(bias)], output)

    def model(self, name, inputs, outputs):
        """The model's bytes; inputs and outputs are (name, element type, shape), a text where a dimension varies."""
        values = [[helper.make_tensor_value_info(*value) for value in side] for side in (inputs, outputs)]
        graph = helper.make_graph(self.nodes, name, values[0], values[1], self.constants)
        # Opset 17 and IR 8: read by every ONNX Runtime since 1.12 and written alike by every onnx package since then.
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)
