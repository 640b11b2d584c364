"""Every element type comes back bit for bit, by every way that tritonclient has to ask."""

import asyncio
import queue
import unittest

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from serving import ELEMENTS, Repository, Server, samples

NOT_IN_JSON = ("FP16", "BF16")
IN_JSON = [datatype for datatype in ELEMENTS if datatype not in NOT_IN_JSON]


def in_json(datatype):
    """Values that JSON can say: numbers that are finite, text that is UTF-8."""
    values = samples(datatype)
    if datatype == "BYTES":
        return np.array(["", "a\"b\\", "Zürich", "\n\t", "\U0001f600"] * 3, np.object_).reshape(3, 5)
    if values.dtype.kind == "f":
        info = np.finfo(values.dtype)
        special = [info.max, info.min, info.tiny, info.smallest_subnormal, 0.1]
        return np.array(special * 3, values.dtype).reshape(3, 5)
    return values


def asked(api, datatype, values, **options):
    tensor = api.InferInput("x", list(values.shape), datatype)
    tensor.set_data_from_numpy(values, **options)
    return f"identity_{datatype.lower()}", [tensor]


class Types(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository()
        cls.repository.identities()
        cls.server = Server(cls.repository.path)
        cls.http = triton_http.InferenceServerClient(cls.server.http, concurrency=4)
        cls.grpc = triton_grpc.InferenceServerClient(cls.server.grpc)

    @classmethod
    def tearDownClass(cls):
        cls.http.close()
        cls.grpc.close()
        cls.server.stop()

    def same(self, sent, came):
        self.assertEqual(sent.shape, came.shape)
        if sent.dtype == np.object_:
            as_bytes = [each.encode() if isinstance(each, str) else each for each in sent.ravel()]
            self.assertEqual(as_bytes, [each.encode() if isinstance(each, str) else bytes(each) for each in came.ravel()])
        else:
            self.assertEqual(sent.dtype, came.dtype)
            self.assertEqual(sent.tobytes(), came.tobytes())

    def test_http_binary(self):
        for datatype in ELEMENTS:
            with self.subTest(datatype):
                values = samples(datatype)
                self.same(values, self.http.infer(*asked(triton_http, datatype, values)).as_numpy("y"))

    def test_http_json(self):
        for datatype in IN_JSON:
            with self.subTest(datatype):
                values = in_json(datatype)
                name, inputs = asked(triton_http, datatype, values, binary_data=False)
                outputs = [triton_http.InferRequestedOutput("y", binary_data=False)]
                self.same(values, self.http.infer(name, inputs, outputs=outputs).as_numpy("y"))

    def test_http_binary_in_and_json_out(self):
        for datatype in IN_JSON:
            with self.subTest(datatype):
                values = in_json(datatype)
                if datatype == "BYTES":
                    values = np.array([text.encode() for text in values.ravel()], np.object_).reshape(values.shape)
                outputs = [triton_http.InferRequestedOutput("y", binary_data=False)]
                self.same(values, self.http.infer(*asked(triton_http, datatype, values), outputs=outputs).as_numpy("y"))

    def test_half_types_are_refused_in_json(self):
        for datatype in NOT_IN_JSON:
            with self.subTest(datatype), self.assertRaises(InferenceServerException) as caught:
                outputs = [triton_http.InferRequestedOutput("y", binary_data=False)]
                self.http.infer(*asked(triton_http, datatype, samples(datatype)), outputs=outputs)
            self.assertEqual(caught.exception.status(), "400")

    def test_http_compressed_both_ways(self):
        for coding in ("gzip", "deflate"):
            for datatype in ELEMENTS:
                with self.subTest(datatype):
                    values = samples(datatype)
                    options = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
                    self.same(values, self.http.infer(*asked(triton_http, datatype, values), **options).as_numpy("y"))

    def test_http_async_infer(self):
        waiting = [(values, self.http.async_infer(*asked(triton_http, datatype, values)))
                   for datatype in ELEMENTS for values in [samples(datatype)]]
        for values, answer in waiting:
            self.same(values, answer.get_result().as_numpy("y"))

    def test_grpc(self):
        for datatype in ELEMENTS:
            with self.subTest(datatype):
                values = samples(datatype)
                self.same(values, self.grpc.infer(*asked(triton_grpc, datatype, values)).as_numpy("y"))

    def test_grpc_compressed(self):
        for coding in ("gzip", "deflate"):
            values = samples("FP32", (4, 1000))
            answer = self.grpc.infer(*asked(triton_grpc, "FP32", values), compression_algorithm=coding)
            self.same(values, answer.as_numpy("y"))

    def test_grpc_async_infer(self):
        answers = queue.Queue()
        for datatype in ELEMENTS:
            self.grpc.async_infer(
                *asked(triton_grpc, datatype, samples(datatype)), request_id=datatype,
                callback=lambda result, error: answers.put((result, error)),
            )
        for _ in ELEMENTS:
            result, error = answers.get(timeout=60)
            self.assertIsNone(error)
            self.same(samples(result.get_response().id), result.as_numpy("y"))

    def test_grpc_stream_answers_in_order(self):
        answers = queue.Queue()
        with triton_grpc.InferenceServerClient(self.server.grpc) as client:
            client.start_stream(callback=lambda result, error: answers.put((result, error)))
            for datatype in ELEMENTS:
                client.async_stream_infer(*asked(triton_grpc, datatype, samples(datatype)), request_id=datatype)
            for datatype in ELEMENTS:
                result, error = answers.get(timeout=60)
                self.assertIsNone(error)
                self.assertEqual(result.get_response().id, datatype)
                self.same(samples(datatype), result.as_numpy("y"))
            client.stop_stream()

    def test_a_stream_outlives_an_error(self):
        answers = queue.Queue()
        with triton_grpc.InferenceServerClient(self.server.grpc) as client:
            client.start_stream(callback=lambda result, error: answers.put((result, error)))
            _, inputs = asked(triton_grpc, "FP32", samples("FP32"))
            client.async_stream_infer("nope", inputs)
            client.async_stream_infer("identity_fp32", inputs)
            self.assertIn("Request for unknown model: 'nope' is not found", str(answers.get(timeout=60)[1]))
            result, error = answers.get(timeout=60)
            self.assertIsNone(error)
            self.same(samples("FP32"), result.as_numpy("y"))
            client.stop_stream()

    def test_http_aio(self):
        async def ask_all():
            async with triton_http_aio.InferenceServerClient(self.server.http) as client:
                return await asyncio.gather(
                    *(client.infer(*asked(triton_http_aio, datatype, samples(datatype))) for datatype in ELEMENTS)
                )

        for datatype, answer in zip(ELEMENTS, asyncio.run(ask_all())):
            self.same(samples(datatype), answer.as_numpy("y"))

    def test_grpc_aio(self):
        async def ask_all():
            async with triton_grpc_aio.InferenceServerClient(self.server.grpc) as client:
                return await asyncio.gather(
                    *(client.infer(*asked(triton_grpc_aio, datatype, samples(datatype))) for datatype in ELEMENTS)
                )

        for datatype, answer in zip(ELEMENTS, asyncio.run(ask_all())):
            self.same(samples(datatype), answer.as_numpy("y"))

    def test_grpc_aio_stream(self):
        async def ask_all():
            async def requests():
                for datatype in ELEMENTS:
                    name, inputs = asked(triton_grpc_aio, datatype, samples(datatype))
                    yield {"model_name": name, "inputs": inputs}

            async with triton_grpc_aio.InferenceServerClient(self.server.grpc) as client:
                return [each async for each in client.stream_infer(requests())]

        for datatype, (answer, error) in zip(ELEMENTS, asyncio.run(ask_all()), strict=True):
            self.assertIsNone(error)
            self.same(samples(datatype), answer.as_numpy("y"))

    def test_tensors_without_elements(self):
        values = np.zeros((1, 0), np.float32)
        self.same(values, self.grpc.infer(*asked(triton_grpc, "FP32", values)).as_numpy("y"))
        self.same(values, self.http.infer(*asked(triton_http, "FP32", values)).as_numpy("y"))
