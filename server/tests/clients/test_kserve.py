"""KServe's own clients, REST and gRPC."""

import unittest
import warnings

import grpc
import numpy as np

warnings.filterwarnings("ignore")
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig  # noqa: E402

from serving import ELEMENTS, Repository, Server, small_values, reference, rows  # noqa: E402


class KServe(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository()
        cls.repository.identities()
        cls.repository.example("digits_mlp_128")
        cls.server = Server(cls.repository.path)
        cls.base = f"http://{cls.server.http}"

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def rest(self):
        return InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=60))

    def request(self, model, name, array, datatype, binary):
        tensor = InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary)
        parameters = {"binary_data_output": True} if binary else None
        return InferRequest(model_name=model, infer_inputs=[tensor], parameters=parameters)

    async def test_rest_health(self):
        async with self.rest() as client:
            self.assertTrue(await client.is_server_live(self.base))
            self.assertTrue(await client.is_server_ready(self.base))
            self.assertTrue(await client.is_model_ready(self.base, "digits_mlp_128"))

    async def test_rest_reads_digits(self):
        x, want = self.digits()
        async with self.rest() as client:
            for binary in (False, True):
                with self.subTest(binary=binary):
                    request = self.request("digits_mlp_128", "x", x, "FP32", binary)
                    answer = await client.infer(self.base, request, model_name="digits_mlp_128")
                    found = {output.name: output.as_numpy() for output in answer.outputs}
                    self.assertEqual(found["digit"].ravel().tolist(), want[0].ravel().tolist())
                    np.testing.assert_allclose(found["probabilities"].reshape(want[1].shape), want[1], rtol=1e-5)

    async def test_rest_gets_every_type_back(self):
        async with self.rest() as client:
            for datatype in ELEMENTS:
                if datatype == "BF16":
                    continue  # KServe's client knows no BF16.
                with self.subTest(datatype):
                    array = small_values(datatype)
                    model = f"identity_{datatype.lower()}"
                    request = self.request(model, "x", array, datatype, binary=True)
                    answer = await client.infer(self.base, request, model_name=model)
                    want = array.ravel().tolist()
                    if datatype == "BYTES":
                        want = [each.decode() for each in want]  # KServe's client makes text of them.
                    self.assertEqual(answer.outputs[0].as_numpy().ravel().tolist(), want)

    async def test_grpc_health(self):
        async with InferenceGRPCClient(self.server.grpc) as client:
            self.assertTrue(await client.is_server_live())
            self.assertTrue(await client.is_server_ready())
            self.assertTrue(await client.is_model_ready("digits_mlp_128"))

    async def test_grpc_reads_digits(self):
        x, want = self.digits()
        async with InferenceGRPCClient(self.server.grpc) as client:
            for binary in (False, True):
                with self.subTest(binary=binary):
                    answer = await client.infer(self.request("digits_mlp_128", "x", x, "FP32", binary))
                    found = {output.name: output.as_numpy() for output in answer.outputs}
                    self.assertEqual(found["digit"].ravel().tolist(), want[0].ravel().tolist())

    async def test_rest_refusals_are_said_in_the_servers_words(self):
        x, _ = self.digits()
        async with self.rest() as client:
            for model, rows, sentence in (("nope", x, "unknown model: 'nope'"), ("digits_mlp_128", x[:, :9], "unexpected shape for input 'x'")):
                for binary in (False, True):
                    with self.subTest(model=model, binary=binary), self.assertRaisesRegex(Exception, sentence):
                        await client.infer(self.base, self.request(model, "x", rows, "FP32", binary), model_name=model)

    async def test_grpc_refusals_are_said_in_the_servers_words(self):
        x, _ = self.digits()
        async with InferenceGRPCClient(self.server.grpc) as client:
            for model, rows, code in (("nope", x, "NOT_FOUND"), ("digits_mlp_128", x[:, :9], "INVALID_ARGUMENT")):
                with self.subTest(model), self.assertRaises(grpc.RpcError) as caught:
                    await client.infer(self.request(model, "x", rows, "FP32", True))
                self.assertEqual(caught.exception.code().name, code)

    def digits(self):
        x = rows("digits_mlp_128")["x"][:8]
        return x, reference("digits_mlp_128").run(["digit", "probabilities"], {"x": x})
