"""Starts and ends the server for tests, and makes the repositories that it serves."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "target" / "examples"
INPUTS = ROOT / "target" / "example-inputs"
# A model is profiled when it is loaded, by a thread that lets every other program go first: on a busy machine that takes
# minutes.
START_SECONDS = 300

ELEMENTS = {
    "BOOL": (TensorProto.BOOL, np.bool_),
    "UINT8": (TensorProto.UINT8, np.uint8),
    "UINT16": (TensorProto.UINT16, np.uint16),
    "UINT32": (TensorProto.UINT32, np.uint32),
    "UINT64": (TensorProto.UINT64, np.uint64),
    "INT8": (TensorProto.INT8, np.int8),
    "INT16": (TensorProto.INT16, np.int16),
    "INT32": (TensorProto.INT32, np.int32),
    "INT64": (TensorProto.INT64, np.int64),
    "FP16": (TensorProto.FLOAT16, np.float16),
    "BF16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
    "FP32": (TensorProto.FLOAT, np.float32),
    "FP64": (TensorProto.DOUBLE, np.float64),
    "BYTES": (TensorProto.STRING, np.object_),
}


class Server:
    """A running server over a repository; use it in `with`, or start and stop it."""

    def __init__(self, repository, *flags):
        self.folder = tempfile.TemporaryDirectory(prefix="punctual-test-")
        self.log_path = Path(self.folder.name) / "log"
        ports = Path(self.folder.name) / "ports.json"
        command = [os.environ["PUNCTUAL"], "serve", "--model-repository", str(repository), "--ports-file", str(ports)]
        command += ["--http-port=0", "--grpc-port=0", "--metrics-port=0", "--http-address=127.0.0.1"]
        command += ["--grpc-address=127.0.0.1", "--profile-budget=200ms", *flags]
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            found = json.loads(self.wait_for(lambda: ports.exists() and ports.read_text().strip()))
            self.http, self.grpc, self.metrics = (f"127.0.0.1:{found[kind]}" for kind in ("http", "grpc", "metrics"))
            self.wait_for(self.ready)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def wait_for(self, condition):
        """Polls, since what another program does cannot be waited on; fails with the server's log."""
        until = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < until:
            if found := condition():
                return found
            time.sleep(0.02)
        raise AssertionError(f"the server ended, or did not come to it:\n{self.log_path.read_text()[-4000:]}")

    def ready(self):
        from urllib import error, request

        try:
            with request.urlopen(f"http://{self.http}/v2/health/ready", timeout=5) as answer:
                return answer.status == 200
        except (error.URLError, ConnectionError):
            return False

    def count(self, name, **labels):
        """The sum of a metric over all samples that have these labels, as it is scraped."""
        from urllib import request

        with request.urlopen(f"http://{self.metrics}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        found = [line for line in lines if line.startswith(f"{name}{{") and wanted <= set(line[len(name) + 1 :].split("}")[0].split(","))]
        assert found, f"no sample of {name} with {labels}"
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def stop(self):
        """Ends the server as an operator would, and fails if it had ended before or does not end well."""
        ended_before = self.process.poll()
        if ended_before is None:
            self.process.terminate()
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = f"{self.process.wait()}, killed since it did not end in 60 s"
        said = self.log_path.read_text()[-4000:]
        self.folder.cleanup()
        if ended_before is not None or code != 0:
            when = "during the tests" if ended_before is not None else "when told to"
            raise AssertionError(f"the server ended {when} with {code}:\n{said}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Repository:
    """A folder of models that is gone with the test."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="punctual-models-")
        self.path = Path(self.folder.name)

    def example(self, name, settings=None):
        """An example model without its SLO and padding, unless `settings` gives some: these tests are about answers."""
        config = EXAMPLES / name / "config.pbtxt"
        self.add(name, None, settings, config.read_text() if config.exists() else None)
        for labels in (EXAMPLES / name).glob("*.txt"):
            shutil.copy(labels, self.path / name)
        os.symlink(EXAMPLES / name / "1" / "model.onnx", self.path / name / "1" / "model.onnx")

    def add(self, name, model, settings=None, config=None):
        (self.path / name / "1").mkdir(parents=True)
        if model is not None:
            (self.path / name / "1" / "model.onnx").write_bytes(model)
        if settings:
            (self.path / name / "punctual.toml").write_text(settings)
        if config:
            (self.path / name / "config.pbtxt").write_text(config)

    def identities(self):
        """`identity_TYPE` for each type: gives back what it gets, [batch, n]."""
        for datatype, (element, _) in ELEMENTS.items():
            self.add(f"identity_{datatype.lower()}", identity(element))


def identity(element):
    return model([("x", element, ["batch", "n"])], [("y", element, ["batch", "n"])], [node("Identity", ["x"], ["y"])])


def add_and_subtract():
    """Two inputs and two outputs of 16 whole numbers, like the `simple` model of Triton's examples."""
    inputs = [(name, TensorProto.INT32, ["batch", 16]) for name in ("INPUT0", "INPUT1")]
    outputs = [(name, TensorProto.INT32, ["batch", 16]) for name in ("OUTPUT0", "OUTPUT1")]
    nodes = [node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]), node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"])]
    return model(inputs, outputs, nodes)


def plus(number):
    """Adds a number to what it gets: answers tell which model gave them."""
    constant = numpy_helper.from_array(np.array(number, np.float32), "number")
    return model([("x", TensorProto.FLOAT, ["batch", 4])], [("y", TensorProto.FLOAT, ["batch", 4])], [node("Add", ["x", "number"], ["y"])], [constant])


def slow(width=2048, layers=6):
    """Tens of milliseconds a row: a chain of products that one number starts."""
    weights = numpy_helper.from_array(np.eye(width, dtype=np.float32), "w")
    names = ["start", *(f"h{layer}" for layer in range(layers))]
    nodes = [node("Expand", ["x", "shape"], ["start"])]
    nodes += [node("MatMul", [before, "w"], [after]) for before, after in zip(names, names[1:])]
    nodes += [node("ReduceMean", [names[-1]], ["mean"], axes=[2], keepdims=0)]
    nodes += [node("ReduceMean", ["mean"], ["y"], axes=[1], keepdims=1)]
    shape = numpy_helper.from_array(np.array([1, 32, width]), "shape")
    return model([("x", TensorProto.FLOAT, ["batch", 1, 1])], [("y", TensorProto.FLOAT, ["batch", 1])], nodes, [weights, shape])


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs, outputs, **attributes)


def model(inputs, outputs, nodes, constants=()):
    values = [[helper.make_tensor_value_info(*value) for value in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "made", values[0], values[1], list(constants))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def reference(name):
    """ONNX Runtime's own answer, from the same wheel, on one thread as an executor of one core runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(EXAMPLES / name / "1" / "model.onnx", options, ["CPUExecutionProvider"])


def rows(name):
    """The real inputs of an example model, and the right answers where they are known."""
    return np.load(INPUTS / f"{name}.npz")


def samples(datatype, shape=(3, 5)):
    """Values that go wrong first: the ends of the range, odd bit patterns, empty and non-text bytes."""
    count = int(np.prod(shape))
    kind = ELEMENTS[datatype][1]
    rng = np.random.default_rng(7)
    if datatype == "BYTES":
        special = [b"", b"\x00", "Zürich".encode(), b"\xff\xfe", b"a" * 1000]
        return np.array([special[i % len(special)] for i in range(count)], np.object_).reshape(shape)
    if datatype == "BOOL":
        return rng.integers(0, 2, shape).astype(np.bool_)
    return rng.integers(0, 256, count * np.dtype(kind).itemsize, np.uint8).view(kind).reshape(shape)


def small_values(datatype):
    """Small whole values, for clients that turn numbers into lists on their way."""
    values = np.arange(6).reshape(2, 3) % 2 if datatype == "BOOL" else np.arange(6).reshape(2, 3)
    if datatype == "BYTES":
        return np.array([b"one", b"two", b"", b"four", b"five", b"six"], np.object_).reshape(2, 3)
    return values.astype(ELEMENTS[datatype][1])
