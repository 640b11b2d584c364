"""What statistics and metrics count is what the clients saw."""

import json
import threading
import unittest
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from serving import Repository, Server, plus, slow

CROWD, ROUNDS = 24, 5


def ask(api, client, model, values, **options):
    tensor = api.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values)
    return client.infer(model, [tensor], **options)


class Counters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository()
        cls.repository.add("plus", plus(1))
        cls.repository.add("slow", slow(), 'batching = "never"\nqueue_max = 10\n')
        cls.repository.add("slowest", slow(layers=80), 'batching = "never"\n')
        cls.server = Server(cls.repository.path)
        cls.addClassCleanup(cls.server.stop)
        cls.http = triton_http.InferenceServerClient(cls.server.http, network_timeout=120)
        cls.grpc = triton_grpc.InferenceServerClient(cls.server.grpc)
        cls.channel = grpc.insecure_channel(cls.server.grpc)
        cls.stub = service_pb2_grpc.GRPCInferenceServiceStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        for each in (cls.http, cls.grpc, cls.channel):
            each.close()

    def statistics(self, model):
        (found,) = self.http.get_inference_statistics(model)["model_stats"]
        return found

    def test_a_known_number_of_requests_of_known_sizes(self):
        sizes = (1, 2, 3, 5)
        for rows in sizes:
            for api, client in ((triton_http, self.http), (triton_grpc, self.grpc)):
                ask(api, client, "plus", np.ones((rows, 4), np.float32))
        with self.assertRaises(InferenceServerException):
            ask(triton_http, self.http, "plus", np.ones((1, 3), np.float32))
        found, times = self.statistics("plus"), self.statistics("plus")["inference_stats"]
        asked, rows = 2 * len(sizes), 2 * sum(sizes)
        self.assertEqual((found["inference_count"], found["execution_count"]), (rows, asked))
        self.assertEqual({each["batch_size"] for each in found["batch_stats"]}, set(sizes))
        for phase in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
            self.assertEqual(times[phase]["count"], asked, phase)
            self.assertEqual(self.server.count("punctual_latency_seconds_count", model="plus", phase="total"), asked)
        parts = sum(times[phase]["ns"] for phase in ("queue", "compute_input", "compute_infer", "compute_output"))
        self.assertGreater(times["success"]["ns"], 0)
        self.assertLessEqual(parts, times["success"]["ns"])
        for name, want in (
            ("nv_inference_request_success", asked), ("nv_inference_count", rows), ("nv_inference_exec_count", asked),
            ("nv_inference_request_failure", 0), ("punctual_requests_total", asked), ("punctual_answers_total", asked),
            ("punctual_request_rows_total", rows), ("punctual_in_flight_requests", 0),
        ):
            self.assertEqual(self.server.count(name, model="plus", version="1"), want, name)
        self.assertAlmostEqual(
            self.server.count("nv_inference_request_duration_us", model="plus"), times["success"]["ns"] / 1000, delta=asked
        )

    def test_each_outcome_of_an_overload_is_counted_once(self):
        """Clients of both protocols, two of three with a deadline."""
        took = float(self.post({})[1]["x-punctual-compute-us"])
        start = threading.Barrier(CROWD)

        def client(index):
            start.wait()
            return [self.outcome(index, took * (1 + 3 * turn)) for turn in range(ROUNDS)]

        with ThreadPoolExecutor(CROWD) as pool:
            seen = Counter(outcome for outcomes in pool.map(client, range(CROWD)) for outcome in outcomes)
        seen += Counter([self.outcome(1, 1), self.outcome(2, 1)])  # A microsecond: too short on the quietest machine.
        self.assertEqual(sum(seen.values()), CROWD * ROUNDS + 2)
        self.assertGreater(seen["answered"], 0)
        self.assertGreater(seen["queue_full"], 0)
        self.assertGreater(seen["deadline_unreachable"], 0)
        self.server.wait_for(lambda: self.server.count("punctual_in_flight_requests", model="slow") == 0)
        answered, refused = seen["answered"] + 1, sum(seen.values()) - seen["answered"]
        found = self.statistics("slow")
        self.assertEqual(found["inference_stats"]["success"]["count"], answered)
        self.assertEqual(found["inference_stats"]["fail"]["count"], refused)
        self.assertEqual(found["execution_count"], answered)
        self.assertEqual(self.server.count("punctual_answers_total", model="slow"), answered)
        self.assertEqual(self.server.count("punctual_requests_total", model="slow"), answered + refused)
        self.assertEqual(self.server.count("nv_inference_request_failure", model="slow", reason="REJECTED"), refused)
        for reason in set(seen) - {"answered"}:
            self.assertEqual(self.server.count("punctual_refusals_total", model="slow", reason=reason), seen[reason], reason)

    def outcome(self, index, microseconds):
        """What a client saw: `answered`, or the reason of the refusal; by HTTP and gRPC in turn.

        A refusal's reason is in metadata, which tritonclient's classes keep to themselves: its stub gives them.
        """
        timeout = int(microseconds) if index % 3 else None
        if index % 2:
            request = service_pb2.ModelInferRequest(model_name="slow")
            request.inputs.add(name="x", datatype="FP32", shape=[1, 1, 1]).contents.fp32_contents.append(1.0)
            if timeout:
                request.parameters["timeout"].int64_param = timeout
            try:
                self.stub.ModelInfer(request, timeout=120)
                return "answered"
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
                return json.loads(dict(error.trailing_metadata())["x-punctual-refusal"])["reason"]
        status, _, answer = self.post({"parameters": {"timeout": timeout}} if timeout else {})
        self.assertIn(status, (200, 503))
        return "answered" if status == 200 else answer["reason"]

    def test_who_leaves_is_counted_as_gone_and_not_run(self):
        """Six wait behind each other; the last three hang up, and the others get their answers."""
        body = json.dumps({"inputs": [{"name": "x", "shape": [1, 1, 1], "datatype": "FP32", "data": [1.0]}]}).encode()
        connections = [HTTPConnection(self.server.http, timeout=120) for _ in range(6)]
        for place, connection in enumerate(connections):
            connection.request("POST", "/v2/models/slowest/infer", body)
            self.server.wait_for(lambda wanted=place + 1: self.server.count("punctual_requests_total", model="slowest") == wanted)
        for connection in connections[3:]:
            connection.close()
        for connection in connections[:3]:
            self.assertEqual(connection.getresponse().status, 200)
            connection.close()
        self.server.wait_for(lambda: self.server.count("punctual_in_flight_requests", model="slowest") == 0)
        for name, more in (("punctual_answers_total", {}), ("nv_inference_exec_count", {}),
                           ("punctual_cancellations_total", {}), ("nv_inference_request_failure", {"reason": "CANCELED"})):
            self.assertEqual(self.server.count(name, model="slowest", **more), 3, name)

    def post(self, more):
        tensor = {"name": "x", "shape": [1, 1, 1], "datatype": "FP32", "data": [1.0]}
        connection = HTTPConnection(self.server.http, timeout=120)
        connection.request("POST", "/v2/models/slow/infer", json.dumps({"inputs": [tensor], **more}))
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.loads(answer.read())
        connection.close()
        return found
