"""What is wrong with a request is said in one sentence, with the code that clients expect."""

import json
import unittest
from http.client import HTTPConnection

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from serving import Repository, Server, add_and_subtract

ONES = np.ones((1, 16), np.int32)


def tensor(api, name, array, datatype="INT32"):
    made = api.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository()
        cls.repository.add("simple", add_and_subtract())
        cls.server = Server(cls.repository.path, "--model-control-mode=explicit", "--load-model=simple")
        cls.http = triton_http.InferenceServerClient(cls.server.http)
        cls.grpc = triton_grpc.InferenceServerClient(cls.server.grpc)

    @classmethod
    def tearDownClass(cls):
        cls.http.close()
        cls.grpc.close()
        cls.server.stop()

    def fails(self, http, grpc, sentence, call):
        """The call fails over both protocols with these codes and a sentence that holds these words."""
        for api, client, code in ((triton_http, self.http, http), (triton_grpc, self.grpc, f"StatusCode.{grpc}")):
            with self.subTest(api.__name__):
                with self.assertRaises(InferenceServerException) as caught:
                    call(api, client)
                self.assertIn(sentence, caught.exception.message())
                self.assertEqual(caught.exception.status(), code)

    def infer(self, *inputs, model="simple", **options):
        return lambda api, client: client.infer(model, [tensor(api, *each) for each in inputs], **options)

    def test_unknown_model(self):
        sentence = "Request for unknown model: 'nope' is not found"
        self.fails("404", "NOT_FOUND", sentence, self.infer(("INPUT0", ONES), model="nope"))
        self.fails("404", "NOT_FOUND", sentence, lambda _, client: client.get_model_metadata("nope"))
        self.fails("404", "NOT_FOUND", sentence, lambda _, client: client.get_model_config("nope"))

    def test_unknown_version(self):
        call = self.infer(("INPUT0", ONES), ("INPUT1", ONES), model_version="9")
        self.fails("404", "NOT_FOUND", "Request for unknown model: 'simple' version 9 is not found", call)

    def test_statistics_of_an_unknown_model(self):
        sentence = "requested model 'nope' is not available"
        self.fails("400", "INVALID_ARGUMENT", sentence, lambda _, client: client.get_inference_statistics("nope"))

    def test_load_of_an_unknown_model(self):
        sentence = "failed to load 'nope', failed to poll from model repository"
        self.fails("500", "INTERNAL", sentence, lambda _, client: client.load_model("nope"))

    def test_unload_of_an_unknown_model_is_no_error(self):
        self.http.unload_model("nope")
        self.grpc.unload_model("nope")

    def test_missing_input(self):
        sentence = (
            "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing required "
            "input(s) ['INPUT1']. Please provide all required input(s)."
        )
        self.fails("400", "INVALID_ARGUMENT", sentence, self.infer(("INPUT0", ONES)))

    def test_wrong_datatype(self):
        sentence = "inference input 'INPUT1' data-type is 'FP32', but model 'simple' expects 'INT32'"
        wrong = ("INPUT1", ONES.astype(np.float32), "FP32")
        self.fails("400", "INVALID_ARGUMENT", sentence, self.infer(("INPUT0", ONES), wrong))

    def test_wrong_shape(self):
        sentence = "unexpected shape for input 'INPUT1' for model 'simple'. Expected [-1,16], got [1,15]"
        self.fails("400", "INVALID_ARGUMENT", sentence, self.infer(("INPUT0", ONES), ("INPUT1", ONES[:, :15])))

    def test_unknown_output(self):
        def call(api, client):
            inputs = [tensor(api, name, ONES) for name in ("INPUT0", "INPUT1")]
            client.infer("simple", inputs, outputs=[api.InferRequestedOutput("NOPE")])

        self.fails("400", "INVALID_ARGUMENT", "unexpected inference output 'NOPE' for model 'simple'", call)

    def test_bodies_that_are_wrong_in_themselves(self):
        good = {"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "data": [1] * 16}
        bodies = {
            "malformed": b'{"inputs":[',
            "no inputs": b"{}",
            "an id that is no text": json.dumps({"id": 7, "inputs": [good, {**good, "name": "INPUT1"}]}).encode(),
            "too few numbers": json.dumps({"inputs": [good, {**good, "name": "INPUT1", "data": [1]}]}).encode(),
            "a fraction": json.dumps({"inputs": [good, {**good, "name": "INPUT1", "data": [1.5] * 16}]}).encode(),
            "a negative size": json.dumps({"inputs": [good, {**good, "name": "INPUT1", "shape": [-1, 16]}]}).encode(),
            "no data": json.dumps({"inputs": [good, {"name": "INPUT1", "shape": [1, 16], "datatype": "INT32"}]}).encode(),
        }
        for what, body in bodies.items():
            with self.subTest(what):
                status, answer = self.post("/v2/models/simple/infer", body)
                self.assertEqual(status, 400)
                self.assertGreater(len(json.loads(answer)["error"]), 10)

    def test_binary_bodies_of_the_wrong_length(self):
        inputs = [{"name": name, "shape": [1, 16], "datatype": "INT32", "parameters": {"binary_data_size": 64}}
                  for name in ("INPUT0", "INPUT1")]
        head = json.dumps({"inputs": inputs}).encode()
        for extra, sentence in ((1, "unexpected additional input data for model 'simple'"), (-1, "unexpected size for input 'INPUT1'")):
            with self.subTest(extra):
                headers = {"Inference-Header-Content-Length": str(len(head))}
                status, answer = self.post("/v2/models/simple/infer", head + bytes(128 + extra), headers)
                self.assertEqual(status, 400)
                self.assertIn(sentence, json.loads(answer)["error"])
        status, answer = self.post("/v2/models/simple/infer", head, {"Inference-Header-Content-Length": "999999"})
        self.assertEqual(status, 400)
        self.assertIn("inference header size should be in range", json.loads(answer)["error"])

    def test_wrong_method_and_route(self):
        status, answer = self.send("PUT", "/v2/models/simple/infer", b"")
        self.assertEqual((status, json.loads(answer)), (405, {"error": "Method Not Allowed"}))
        status, answer = self.send("GET", "/v2/nope", b"")
        self.assertEqual(status, 404)
        self.assertIn("error", json.loads(answer))

    def test_an_unloaded_model_is_refused_and_comes_back(self):
        self.http.unload_model("simple")
        call = self.infer(("INPUT0", ONES), ("INPUT1", ONES))
        try:
            self.fails("404", "NOT_FOUND", "'simple' has no available versions", call)
            self.assertFalse(self.http.is_model_ready("simple"))
            self.assertFalse(self.grpc.is_model_ready("simple"))
        finally:
            self.http.load_model("simple")
        self.assertTrue(self.grpc.is_model_ready("simple"))
        self.assertEqual(call(triton_grpc, self.grpc).as_numpy("OUTPUT0").tolist(), [[2] * 16])

    def test_health_and_metadata(self):
        for client in (self.http, self.grpc):
            self.assertTrue(client.is_server_live() and client.is_server_ready() and client.is_model_ready("simple"))
            self.assertFalse(client.is_model_ready("nope"))
        self.assertIn("statistics", self.http.get_server_metadata()["extensions"])
        about = self.http.get_model_metadata("simple")
        self.assertEqual([each["name"] for each in about["inputs"]], ["INPUT0", "INPUT1"])
        self.assertEqual(about["inputs"][0]["shape"], [-1, 16])
        self.assertEqual([each["name"] for each in self.http.get_model_repository_index()], ["simple"])

    def post(self, path, body, headers=None):
        return self.send("POST", path, body, headers)

    def send(self, method, path, body, headers=None):
        connection = HTTPConnection(self.server.http, timeout=60)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found
