"""What is malformed, endless or huge is refused with a sentence; the server lives, forgets it and serves others meanwhile."""

import gzip
import json
import os
import resource
import select
import socket
import struct
import unittest
import zlib
from http.client import HTTPConnection
from pathlib import Path

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serving import Repository, Server, add_and_subtract

MIB = 1 << 20
# The allocator keeps for a while what the largest body took, 64 MiB and half of that before it grew; what the attacks
# below declare is many times more.
SLACK = 160 * MIB
SLOW_CLIENTS = 200
SILENT_CLIENTS = 1500
ENDLESS = 2048 * MIB


def tensor(**changes):
    return {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2], **changes}


def request(**changes):
    return json.dumps({"inputs": [tensor(**changes)]}).encode()


def bodies():
    """What is wrong, and the body of an infer request for `identity_fp32`."""
    yield "empty", b""
    yield "not JSON", b"\x00\xff\xfe"
    yield "cut short", request()[:-3]
    yield "more after the end", request() + b"{}"
    yield "not UTF-8", request().replace(b'"x"', b'"\xff"')
    yield "deep", b'{"inputs":' + b"[" * 200_000
    yield "deep data", b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":' + b"[" * 200_000
    yield "deep where nobody looks", b'{"other":' + b'{"a":' * 200_000
    yield "inputs that are no list", b'{"inputs":{"x":1}}'
    yield "an input that is a number", b'{"inputs":[7]}'
    yield "no inputs", b'{"inputs":[]}'
    yield "the same input twice", json.dumps({"inputs": [tensor(), tensor()]}).encode()
    yield "10,000 inputs", json.dumps({"inputs": [tensor(name=f"x{i}") for i in range(10_000)]}).encode()
    yield "10,000 outputs", json.dumps({"inputs": [tensor()], "outputs": [{"name": f"y{i}"} for i in range(10_000)]}).encode()
    yield "the same output 10,000 times", json.dumps({"inputs": [tensor()], "outputs": [{"name": "y"}] * 10_000}).encode()
    yield "unknown type", request(datatype="FP8")
    yield "other type", request(datatype="INT64")
    yield "negative size", request(shape=[-1, 2])
    yield "sizes whose product is huge", request(shape=[2**40, 2**40])
    yield "a size beyond 64 bits", request(shape=[2**70, 2])
    yield "a size that is text", request(shape=["1", "2"])
    yield "100,000 sizes", request(shape=[1] * 100_000)
    yield "no sizes", request(shape=[])
    yield "NaN", request(data=[float("nan"), 1])
    yield "infinity", request(data=[float("inf"), 1])
    yield "text for numbers", request(data=["1", "2"])
    yield "null for numbers", request(data=[None, 1])
    yield "too few numbers", request(data=[1])
    yield "too many numbers", request(data=[1, 2, 3])
    yield "too large a number", request(data=[1, 10**400])
    yield "binary that is not there", request(data=None, parameters={"binary_data_size": 8}).replace(b'"data": null, ', b"")
    yield "both data and binary", request(parameters={"binary_data_size": 8})
    yield "a negative binary size", request(parameters={"binary_data_size": -8})
    yield "a negative timeout", json.dumps({"inputs": [tensor()], "parameters": {"timeout": -1}}).encode()
    yield "a deadline that is text", json.dumps({"inputs": [tensor()], "parameters": {"timeout": "soon"}}).encode()


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository()
        cls.repository.identities()
        cls.repository.add("simple", add_and_subtract())
        flags = ("--http-header-timeout=2s", "--http-body-timeout=2s", "--http-max-input-size=16777216")
        cls.server = Server(cls.repository.path, *flags)
        cls.addClassCleanup(cls.server.stop)
        cls.host, cls.port = cls.server.http.split(":")

    def setUp(self):
        self.assert_serving()  # Also warm, so that what it takes is not counted as lost.
        self.before = self.resident(), self.sockets()

    def tearDown(self):
        self.assert_serving()
        self.server.wait_for(lambda: self.sockets() <= self.before[1] + 2)
        self.assertLess(self.resident() - self.before[0], SLACK)

    def assert_serving(self):
        values = np.ones((2, 3), np.float32)
        for api, target in ((triton_http, self.server.http), (triton_grpc, self.server.grpc)):
            with api.InferenceServerClient(target) as client:
                x = api.InferInput("x", [2, 3], "FP32")
                x.set_data_from_numpy(values)
                self.assertEqual(client.infer("identity_fp32", [x]).as_numpy("y").tolist(), values.tolist())

    def resident(self):
        pages = int(Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def sockets(self):
        found = 0
        for link in Path(f"/proc/{self.server.process.pid}/fd").iterdir():
            try:
                found += os.readlink(link).startswith("socket:")
            except FileNotFoundError:
                pass  # Closed since it was listed.
        return found

    def post(self, body, headers=None, model="identity_fp32"):
        connection = HTTPConnection(self.server.http, timeout=60)
        try:
            connection.request("POST", f"/v2/models/{model}/infer", body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def assert_refused(self, found):
        status, answer = found
        self.assertTrue(400 <= status < 500, f"{status} {answer[:300]}")
        self.assertGreater(len(json.loads(answer)["error"]), 10)
        self.assertLess(len(answer), 16_384)

    def test_malformed_bodies(self):
        for what, body in bodies():
            with self.subTest(what):
                self.assert_refused(self.post(body))

    def test_every_cut_and_every_bent_byte_of_a_binary_request(self):
        inputs = []
        for name in ("INPUT0", "INPUT1"):
            inputs.append(triton_http.InferInput(name, [1, 4], "INT32"))
            inputs[-1].set_data_from_numpy(np.ones((1, 4), np.int32))
        body, length = triton_http.InferenceServerClient.generate_request_body(inputs)
        headers = {"Inference-Header-Content-Length": str(length)}
        connection = HTTPConnection(self.server.http, timeout=60)
        for at in range(len(body)):
            for bent in (body[:at], body[:at] + bytes([body[at] ^ 0x11]) + body[at + 1 :]):
                connection.request("POST", "/v2/models/simple/infer", bent, headers)
                answer = connection.getresponse()
                content = answer.read()
                self.assertIn(answer.status, (200, 400, 404), content)
                if answer.status != 200:
                    self.assertIn("error", json.loads(content))
        connection.close()

    def test_lengths_that_are_wrong(self):
        for length in ("-1", "99999999999999999999", "1.5", "x", "1"):
            with self.subTest(length):
                self.assert_refused(self.post(request(), {"Inference-Header-Content-Length": length}))

    def test_texts_longer_than_their_bytes(self):
        for raw in (struct.pack("<I", 2**32 - 1), struct.pack("<I", 5) + b"four", b"\x01\x00", struct.pack("<I", 0) * 3):
            head = json.dumps({"inputs": [tensor(datatype="BYTES", data=None, parameters={"binary_data_size": len(raw)})]})
            head = head.replace('"data": null, ', "").encode()
            with self.subTest(raw):
                found = self.post(head + raw, {"Inference-Header-Content-Length": str(len(head))}, "identity_bytes")
                self.assert_refused(found)

    def test_compressed_bodies_that_are_bombs_cut_or_not_compressed(self):
        bomb = gzip.compress(bytes(512 * MIB), 6)
        self.assertLess(len(bomb), MIB)
        for what, body, coding in (("bomb", bomb, "gzip"), ("zlib bomb", zlib.compress(bytes(256 * MIB)), "deflate"),
                                   ("cut", gzip.compress(request())[:-6], "gzip"), ("not compressed", request(), "gzip")):
            with self.subTest(what):
                self.assert_refused(self.post(body, {"Content-Encoding": coding}))
                self.assertLess(self.resident() - self.before[0], SLACK)

    def test_bodies_too_large_said_and_unsaid(self):
        # The server discards some more, so that a client that asks only when it has sent all reads the answer too.
        for head in (b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n"):
            with self.subTest(head), socket.create_connection((self.host, self.port), timeout=60) as stream:
                stream.sendall(b"POST /v2/models/identity_fp32/infer HTTP/1.1\r\nHost: h\r\n" + head + b"\r\n")
                chunk = b"100000\r\n" + b" " * MIB + b"\r\n"
                sent = 0
                try:
                    while not select.select([stream], [], [], 0)[0] and sent < ENDLESS:
                        stream.sendall(chunk)
                        sent += MIB
                    self.assertLess(sent, ENDLESS, "it is read without end")
                    self.assertTrue(stream.recv(64).startswith(b"HTTP/1.1 413"))
                except ConnectionError:
                    self.assertGreater(sent, 16 * MIB, "closed since more than could be discarded came")
                self.assertLess(self.resident() - self.before[0], SLACK)

    def test_clients_that_never_finish_do_not_keep_others_waiting_and_are_let_go(self):
        beginnings = (b"", b"GET /v2/health/ready HTTP/1.1\r\nHos", b"PO",
                      b"POST /v2/models/identity_fp32/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{\"in")
        streams = [socket.create_connection((self.host, self.port), timeout=60) for _ in range(SLOW_CLIENTS)]
        for index, stream in enumerate(streams):
            stream.sendall(beginnings[index % len(beginnings)])
        self.assert_serving()
        for stream in streams:
            with stream:
                while stream.recv(4096):
                    pass  # Until the server closes; the socket's timeout is the limit.

    def test_half_closed_sockets_are_answered_or_closed(self):
        body = request()
        head = b"POST /v2/models/identity_fp32/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
        for sent in (head + body, head + body[:-5], head, head[:30], b""):
            with self.subTest(len(sent)), socket.create_connection((self.host, self.port), timeout=60) as stream:
                stream.sendall(sent)
                stream.shutdown(socket.SHUT_WR)
                answer = b""
                while part := stream.recv(4096):
                    answer += part
                # Whoever closes his side may have left, so even the whole request need not be answered.
                allowed = (b"", b"HTTP/1.1 200") if sent == head + body else (b"", b"HTTP/1.1 400", b"HTTP/1.1 408")
                self.assertIn(answer[:12], allowed)

    def test_silent_connections_of_grpc_do_not_keep_others_out(self):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        host, port = self.server.grpc.split(":")
        streams = [socket.create_connection((host, port), timeout=60) for _ in range(SILENT_CLIENTS)]
        self.assert_serving()
        for stream in streams:
            stream.close()

    def test_what_is_not_the_protocol_of_the_port(self):
        noise = np.random.default_rng(7).integers(0, 256, (20, 4096), np.uint8)
        for target in (self.server.http, self.server.grpc, self.server.metrics):
            host, port = target.split(":")
            for each in noise:
                with socket.create_connection((host, port), timeout=60) as stream:
                    try:
                        stream.sendall(each.tobytes() + b"\r\n\r\n")
                        stream.shutdown(socket.SHUT_WR)
                        while stream.recv(4096):
                            pass
                    except OSError as error:
                        self.assertNotIsInstance(error, TimeoutError)

    def test_malformed_grpc_messages(self):
        with grpc.insecure_channel(self.server.grpc) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for what, change in self.messages():
                message = service_pb2.ModelInferRequest(model_name="identity_fp32")
                message.inputs.add(name="x", datatype="FP32", shape=[1, 2])
                message.raw_input_contents.append(bytes(8))
                change(message)
                with self.subTest(what), self.assertRaises(grpc.RpcError) as caught:
                    stub.ModelInfer(message, timeout=60)
                self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT, caught.exception.details())
                self.assertTrue(10 < len(caught.exception.details()) < 16_384)
            raw = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            for noise in (b"\xff" * 1000, b"\x0a\xff\xff\xff\xff\x0f", b"\x2a" * 77):
                with self.subTest(noise[:8]), self.assertRaises(grpc.RpcError) as caught:
                    raw(noise, timeout=60)
                self.assertIn(caught.exception.code(), (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL))

    def messages(self):
        yield "no tensor's bytes", lambda m: m.ClearField("raw_input_contents")
        yield "bytes of more tensors", lambda m: m.raw_input_contents.append(bytes(8))
        yield "too few bytes", lambda m: m.raw_input_contents.__setitem__(0, bytes(7))
        yield "both kinds of bytes", lambda m: m.inputs[0].contents.fp32_contents.extend([1, 2])
        yield "negative size", lambda m: m.inputs[0].shape.__setitem__(0, -1)
        yield "huge sizes", lambda m: m.inputs[0].shape.extend([2**62, 2**62])
        yield "100,000 sizes", lambda m: m.inputs[0].shape.extend([1] * 100_000)
        yield "unknown type", lambda m: setattr(m.inputs[0], "datatype", "FP8")
        yield "no inputs", lambda m: m.ClearField("inputs")
        yield "10,000 outputs", lambda m: [m.outputs.add(name=f"y{i}") for i in range(10_000)]
        yield "the same output 10,000 times", lambda m: [m.outputs.add(name="y") for _ in range(10_000)]
        yield "a negative timeout", lambda m: setattr(m.parameters["timeout"], "int64_param", -1)
        yield "a timeout that is text", lambda m: setattr(m.parameters["timeout"], "string_param", "soon")
