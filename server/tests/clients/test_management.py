"""What clients ask about the server and its models, and what they may say besides tensors."""

import json
import queue
import tempfile
import unittest
from http.client import HTTPConnection
from pathlib import Path

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient.utils import InferenceServerException

from serving import Repository, Server, add_and_subtract, slow

SIXTEEN = np.arange(16, dtype=np.int32).reshape(1, 16)
ODD_NAME = "more than one word & Zürich"


def simple(api):
    inputs = [api.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    for each in inputs:
        each.set_data_from_numpy(SIXTEEN)
    return inputs


def identity(api, values, datatype="FP32"):
    tensor = api.InferInput("x", list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return [tensor]


class Management(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository()
        cls.repository.identities()
        for name in ("simple", ODD_NAME):
            cls.repository.add(name, add_and_subtract())
        cls.repository.add("slow", slow(), 'batching = "never"\n')
        cls.server = Server(cls.repository.path)
        cls.addClassCleanup(cls.server.stop)
        cls.http = triton_http.InferenceServerClient(cls.server.http, network_timeout=60)
        cls.grpc = triton_grpc.InferenceServerClient(cls.server.grpc)
        cls.both = ((triton_http, cls.http), (triton_grpc, cls.grpc))

    @classmethod
    def tearDownClass(cls):
        cls.http.close()
        cls.grpc.close()

    def alike(self, http, from_grpc):
        """HTTP's JSON and gRPC's message say the same, but for what a message leaves out."""
        if isinstance(from_grpc, dict):
            for key, value in from_grpc.items():
                self.alike(http[key], value)
        elif isinstance(from_grpc, list):
            self.assertEqual(len(http), len(from_grpc))
            for one, other in zip(http, from_grpc):
                self.alike(one, other)
        else:
            self.assertEqual(str(http), str(from_grpc))

    def test_both_protocols_say_the_same_about_the_server_and_its_models(self):
        def as_dict(message):
            return MessageToDict(message, preserving_proto_field_name=True)

        self.alike(self.http.get_server_metadata(), as_dict(self.grpc.get_server_metadata()))
        self.alike(self.http.get_model_metadata("simple"), as_dict(self.grpc.get_model_metadata("simple", "1")))
        self.alike(self.http.get_model_config("simple"), as_dict(self.grpc.get_model_config("simple"))["config"])
        self.alike(self.http.get_model_repository_index(), as_dict(self.grpc.get_model_repository_index())["models"])
        for model in ("", "simple"):
            statistics = self.http.get_inference_statistics(model), as_dict(self.grpc.get_inference_statistics(model))
            self.alike(*statistics)

    def test_the_configuration_is_read_from_the_model(self):
        found = self.http.get_model_config("simple")
        self.assertGreater(found["max_batch_size"], 1)
        self.assertEqual((found["platform"], found["backend"]), ("onnxruntime_onnx", "onnxruntime"))
        described = [(each["name"], each["data_type"], each["dims"]) for each in found["input"] + found["output"]]
        names = ("INPUT0", "INPUT1", "OUTPUT0", "OUTPUT1")
        self.assertEqual(described, [(name, "TYPE_INT32", [16]) for name in names])

    def test_log_settings_are_changed_and_read_back(self):
        for _, client in self.both:
            client.update_log_settings({"log_verbose_level": 1, "log_info": False})
            changed = self.http.get_log_settings()
            client.update_log_settings({"log_verbose_level": 0, "log_info": True})
            self.assertEqual((changed["log_verbose_level"], changed["log_info"]), (1, False))
        self.assertEqual(self.grpc.get_log_settings(as_json=True)["settings"]["log_info"], {"bool_param": True})

    def test_the_file_of_the_log_is_the_operators_and_no_clients(self):
        with tempfile.TemporaryDirectory() as folder:
            other = Path(folder) / "other"
            for (_, client), code in zip(self.both, ("400", "StatusCode.INVALID_ARGUMENT")):
                with self.assertRaises(InferenceServerException) as caught:
                    client.update_log_settings({"log_file": str(other)})
                self.assertEqual(caught.exception.status(), code)
                self.assertIn("--log-file", caught.exception.message())
                client.update_log_settings({**self.http.get_log_settings(), "log_error": True})
            self.assertFalse(other.exists())
        self.assertEqual(self.http.get_log_settings()["log_file"], "")

    def test_what_is_not_supported_is_not_listed_and_says_so(self):
        extensions = self.http.get_server_metadata()["extensions"]
        self.assertFalse({"trace", "system_shared_memory", "cuda_shared_memory"} & set(extensions), extensions)
        for (_, client), code in zip(self.both, ("501", "StatusCode.UNIMPLEMENTED")):
            calls = [client.get_trace_settings, lambda c=client: c.register_system_shared_memory("region", "/region", 64)]
            for call in calls:
                with self.assertRaises(InferenceServerException) as caught:
                    call()
                self.assertEqual(caught.exception.status(), code)
                self.assertIn("not supported", caught.exception.message())
            client.unregister_system_shared_memory()  # Clients do so before they begin, whatever is supported.
            client.unregister_cuda_shared_memory()

    def test_names_are_quoted_and_a_base_path_may_stand_before_the_route(self):
        self.assertTrue(self.http.is_model_ready(ODD_NAME) and self.grpc.is_model_ready(ODD_NAME, "1"))
        with triton_http.InferenceServerClient(f"{self.server.http}/some/base") as client:
            answer = client.infer(ODD_NAME, simple(triton_http), model_version="1", query_params={"any": "thing"})
        self.assertEqual(answer.as_numpy("OUTPUT0").tolist(), (2 * SIXTEEN).tolist())

    def test_an_id_is_given_back_and_only_what_is_asked_for_is_answered(self):
        for api, client in self.both:
            with self.subTest(api.__name__):
                outputs = [api.InferRequestedOutput("OUTPUT1")]
                answer = client.infer("simple", simple(api), request_id="the 7th", outputs=outputs)
                said = answer.get_response() if api is triton_http else answer.get_response(as_json=True)
                self.assertEqual((said["id"], said["model_name"], said["model_version"]), ("the 7th", "simple", "1"))
                self.assertEqual([each["name"] for each in said["outputs"]], ["OUTPUT1"])
                self.assertEqual(answer.as_numpy("OUTPUT1").tolist(), [[0] * 16])
                self.assertIsNone(answer.as_numpy("OUTPUT0"))

    def test_one_output_as_json_and_one_as_binary(self):
        outputs = [triton_http.InferRequestedOutput("OUTPUT0", binary_data=False), triton_http.InferRequestedOutput("OUTPUT1")]
        answer = self.http.infer("simple", simple(triton_http), outputs=outputs)
        said = {each["name"]: each for each in answer.get_response()["outputs"]}
        self.assertEqual(said["OUTPUT0"]["data"], (2 * SIXTEEN).ravel().tolist())
        self.assertEqual(said["OUTPUT1"]["parameters"], {"binary_data_size": 64})
        self.assertEqual(answer.as_numpy("OUTPUT1").tolist(), [[0] * 16])

    def test_requests_made_and_answers_read_apart_from_the_connection(self):
        body, length = triton_http.InferenceServerClient.generate_request_body(simple(triton_http))
        answer, headers = self.post("/v2/models/simple/infer", body, {"Inference-Header-Content-Length": str(length)})
        length = headers.get("inference-header-content-length")
        read = triton_http.InferenceServerClient.parse_response_body(answer, header_length=length and int(length))
        self.assertEqual(read.as_numpy("OUTPUT0").tolist(), (2 * SIXTEEN).tolist())

    def test_a_raw_body_is_the_one_input(self):
        values = np.linspace(-1, 1, 7, dtype=np.float32)
        headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
        answer, headers = self.post("/v2/models/identity_fp32/infer", values.tobytes(), headers)
        length = int(headers["inference-header-content-length"])
        read = triton_http.InferenceServerClient.parse_response_body(answer, header_length=length)
        self.assertEqual(read.as_numpy("y").tolist(), [values.tolist()])

    def test_priorities_sequences_and_parameters_of_ones_own_are_accepted(self):
        for api, client in self.both:
            for said in ({"priority": 1}, {"timeout": 60_000_000}, {"parameters": {"a": "b", "c": 1, "d": True}},
                         {"sequence_id": 7, "sequence_start": True, "sequence_end": True}, {"sequence_id": "seven"}):
                with self.subTest(api=api.__name__, said=said):
                    answer = client.infer("simple", simple(api), **said)
                    self.assertEqual(answer.as_numpy("OUTPUT0").tolist(), (2 * SIXTEEN).tolist())

    def test_reserved_parameters_are_refused(self):
        request = {"parameters": {"triton_mine": 1}, "inputs": []}
        with self.assertRaisesRegex(AssertionError, "^400 .*triton_"):
            self.post("/v2/models/simple/infer", json.dumps(request).encode(), {})

    def test_tensors_larger_than_the_usual_limits_of_grpc_and_proxies(self):
        values = np.random.default_rng(7).random((4, 2_500_000), np.float32)
        for api, client in self.both:
            with self.subTest(api.__name__):
                answer = client.infer("identity_fp32", identity(api, values)).as_numpy("y")
                self.assertEqual(answer.tobytes(), values.tobytes())

    def test_empty_texts_and_no_texts(self):
        for values in (np.array([[b""]], np.object_), np.array([[b"", b"", b""]], np.object_), np.zeros((1, 0), np.object_)):
            for api, client in self.both:
                with self.subTest(api=api.__name__, shape=values.shape):
                    answer = client.infer("identity_bytes", identity(api, values, "BYTES")).as_numpy("y")
                    self.assertEqual((answer.shape, answer.tolist()), (values.shape, values.tolist()))

    def test_the_best_classes_come_as_text(self):
        values = np.array([[0.1, 0.7, 0.2]], np.float32)
        for api, client in self.both:
            with self.subTest(api.__name__):
                outputs = [api.InferRequestedOutput("y", class_count=2)]
                found = client.infer("identity_fp32", identity(api, values), outputs=outputs).as_numpy("y")
                self.assertEqual([text.decode().split(":")[1] for text in found[0]], ["1", "2"])

    def test_a_timeout_of_a_microsecond_is_refused_in_a_stream_too_and_the_stream_goes_on(self):
        answers = queue.Queue()
        with triton_grpc.InferenceServerClient(self.server.grpc) as client:
            client.start_stream(callback=lambda result, error: answers.put((result, error)))
            client.async_stream_infer("slow", identity(triton_grpc, np.ones((1, 1, 1), np.float32)), timeout=1)
            client.async_stream_infer("simple", simple(triton_grpc))
            self.assertIn("deadline", str(answers.get(timeout=60)[1]))
            self.assertIsNone(answers.get(timeout=60)[1])
            client.stop_stream()

    def test_a_grpc_refusal_carries_its_numbers(self):
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        request = service_pb2.ModelInferRequest(model_name="slow")
        request.parameters["timeout"].int64_param = 1
        tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 1, 1])
        tensor.contents.fp32_contents.append(1.0)
        with grpc.insecure_channel(self.server.grpc) as channel:
            with self.assertRaises(grpc.RpcError) as caught:
                service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        texts = [value if isinstance(value, str) else value.decode("latin-1") for _, value in caught.exception.trailing_metadata()]
        self.assertTrue(any('"reason":"deadline_unreachable"' in text.replace(" ", "") for text in texts), texts)

    def test_a_client_that_gives_up_is_told_so_by_its_own_library(self):
        with self.assertRaises(InferenceServerException) as caught:
            values = np.ones((1, 1, 1), np.float32)
            self.grpc.infer("slow", identity(triton_grpc, values), client_timeout=0.001)
        self.assertIn(caught.exception.status(), ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE"))
        self.grpc.infer("simple", simple(triton_grpc))

    def test_the_standard_grpc_health_service_and_reflection(self):
        with grpc.insecure_channel(self.server.grpc) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("", "inference.GRPCInferenceService", "simple"):
                status = health.Check(health_pb2.HealthCheckRequest(service=name)).status
                self.assertEqual(status, health_pb2.HealthCheckResponse.SERVING, name)
            with self.assertRaises(grpc.RpcError) as caught:
                health.Check(health_pb2.HealthCheckRequest(service="nope"))
            self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
            watched = health.Watch(health_pb2.HealthCheckRequest(service="simple"))
            self.assertEqual(next(watched).status, health_pb2.HealthCheckResponse.SERVING)
            watched.cancel()
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked)
            names = {each.name for each in answer.list_services_response.service}
            self.assertLessEqual({"inference.GRPCInferenceService", "grpc.health.v1.Health"}, names)

    def post(self, path, body, headers):
        connection = HTTPConnection(self.server.http, timeout=60)
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        content, headers = answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        if answer.status != 200:
            raise AssertionError(f"{answer.status} {content}")
        return content, headers
