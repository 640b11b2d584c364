"""The model that every recipe serves, and the protocol's HTTP bodies for peers that do not speak it themselves.

A recipe is run by run.py as `with_NAME.py`, in the virtual environment of its peer; what it is to do stands in the environment.
"""

import json
import os

import numpy as np
import onnxruntime

NAME = "gemm_mlp"
METADATA = {
    "name": NAME,
    "platform": "onnxruntime_onnx",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1024]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1000]}],
}

PORT = int(os.environ["PEER_PORT"])
# Rows of the largest batch, how long it may wait for its rows, processes beside the one that reads requests (where that is a
# choice), and how long a request may wait at all.
BATCH_MAX = int(os.environ["PEER_BATCH_MAX"])
WAIT_SECONDS = float(os.environ["PEER_WAIT_SECONDS"])
WORKERS = int(os.environ["PEER_WORKERS"])
QUEUE_SECONDS_MAX = float(os.environ["PEER_QUEUE_SECONDS_MAX"])


def run():
    """A function from rows to rows: ONNX Runtime on the CPU with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(["y"], {"x": x})[0]


def decode(body, head_len):
    """The rows of a request with one binary tensor."""
    shape = json.loads(body[:head_len])["inputs"][0]["shape"]
    return np.frombuffer(body, np.float32, offset=head_len).reshape(shape)


def encode(y):
    """The answer's body and headers, with one binary tensor."""
    raw = y.tobytes()
    output = {"name": "y", "datatype": "FP32", "shape": y.shape, "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"model_name": NAME, "outputs": [output]}).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    return head + raw, headers
