"""The model as Triton's Python backend loads it: one run of ONNX Runtime for the requests of a batch."""

import numpy as np
import triton_python_backend_utils as triton

import oip


class TritonPythonModel:
    def initialize(self, _arguments):
        self.run = oip.run()

    def execute(self, requests):
        parts = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        y = self.run(np.concatenate(parts))
        ends = np.cumsum([len(part) for part in parts])
        return [
            triton.InferenceResponse([triton.Tensor("y", y[end - len(part) : end])]) for part, end in zip(parts, ends)
        ]
