"""Models come, go and change, and the server ends, while clients ask: whoever was let in gets an answer."""

import json
import threading
import unittest
from collections import Counter
from contextlib import contextmanager
from http.client import HTTPConnection

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from serving import Repository, Server, plus, slow

ZEROS = np.zeros((1, 4), np.float32)
CLIENTS = 6
GONE = ("404", "StatusCode.NOT_FOUND")


def ask(api, client, model, values=ZEROS, **options):
    tensor = api.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values)
    return client.infer(model, [tensor], **options)


class Crowd:
    """Clients of both protocols that ask one model again and again, and note what they saw."""

    def __init__(self, server, model):
        self.server, self.model = server, model
        self.seen, self.lock, self.stopped = Counter(), threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.client, args=(index,)) for index in range(CLIENTS)]

    def client(self, index):
        api, target = ((triton_grpc, self.server.grpc), (triton_http, self.server.http))[index % 2]
        with api.InferenceServerClient(target) as client:
            while not self.stopped.is_set():
                outcome = self.outcome(api, client)
                with self.lock:
                    self.seen[outcome] += 1

    def outcome(self, api, client):
        """The version that answered and what it answered, or what went wrong."""
        try:
            answer = ask(api, client, self.model)
        except Exception as error:
            return f"{getattr(error, 'status', lambda: type(error).__name__)()}: {error}"
        said = answer.get_response() if api is triton_http else answer.get_response(as_json=True)
        return said["model_version"], float(answer.as_numpy("y")[0, 0])

    @contextmanager
    def asking(self):
        """Asks as long as the block lasts, and at least ten times before it."""
        for thread in self.threads:
            thread.start()
        try:
            self.until(lambda: self.seen.total() >= 10)
            yield
        finally:
            self.stopped.set()
            for thread in self.threads:
                thread.join()

    def until(self, condition):
        def locked():
            with self.lock:
                return condition()

        self.server.wait_for(locked)

    def gone(self):
        return sum(count for outcome, count in list(self.seen.items()) if str(outcome).startswith(GONE))

    def until_seen(self, outcome, more=20):
        """Until so many more have seen this."""
        with self.lock:
            wanted = self.seen[outcome] + more
        self.until(lambda: self.seen[outcome] >= wanted)


class Changes(unittest.TestCase):
    def serve(self, *flags):
        server = Server(self.repository.path, *flags)
        self.addCleanup(server.stop)
        return server

    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.folder.cleanup)
        self.repository.add("plus", plus(1))

    def add_version(self, version, number):
        """As an operator does it: under another name first, so that no half of it is ever seen."""
        made = self.repository.path / "plus" / f"coming-{version}"
        made.mkdir()
        (made / "model.onnx").write_bytes(plus(number))
        made.rename(self.repository.path / "plus" / str(version))

    def test_a_new_version_that_polling_finds_takes_over_without_a_failed_request(self):
        server = self.serve("--model-control-mode=poll", "--repository-poll-secs=1")
        crowd = Crowd(server, "plus")
        with crowd.asking():
            self.add_version(2, 2)
            crowd.until_seen(("2", 2.0))
            self.add_version(10, 10)
            crowd.until_seen(("10", 10.0))
        self.assertEqual(set(crowd.seen), {("1", 1.0), ("2", 2.0), ("10", 10.0)})

    def test_versions_loaded_on_request_take_over_without_a_failed_request(self):
        server = self.serve("--model-control-mode=explicit", "--load-model=plus")
        crowd = Crowd(server, "plus")
        with crowd.asking(), triton_grpc.InferenceServerClient(server.grpc) as client:
            for version in (2, 3, 4):
                self.add_version(version, version)
                client.load_model("plus")
                crowd.until_seen((str(version), float(version)))
        self.assertEqual(set(crowd.seen), {(str(version), float(version)) for version in (1, 2, 3, 4)})

    def test_unloading_under_load_gives_answers_or_404_and_nothing_else(self):
        server = self.serve("--model-control-mode=explicit", "--load-model=*")
        crowd = Crowd(server, "plus")
        with crowd.asking(), triton_http.InferenceServerClient(server.http) as client:
            for _ in range(3):
                before = crowd.gone()
                client.unload_model("plus")
                crowd.until(lambda wanted=before + 10: crowd.gone() >= wanted)
                client.load_model("plus")
                crowd.until_seen(("1", 1.0))
        wrong = {outcome for outcome in crowd.seen if outcome != ("1", 1.0) and not str(outcome).startswith(GONE)}
        self.assertFalse(wrong)

    def test_the_index_follows_loading_and_unloading(self):
        self.repository.add("other", plus(5))
        server = self.serve("--model-control-mode=explicit")
        with triton_http.InferenceServerClient(server.http) as client, triton_grpc.InferenceServerClient(server.grpc) as also:
            self.assertEqual(client.get_model_repository_index(), [{"name": "other"}, {"name": "plus"}])
            also.load_model("plus")
            index = client.get_model_repository_index()
            self.assertEqual(index, [{"name": "other"}, {"name": "plus", "version": "1", "state": "READY"}])
            client.unload_model("plus")
            server.wait_for(lambda: client.get_model_repository_index()[1]["state"] == "UNAVAILABLE")
            self.assertFalse(also.is_model_ready("plus"))
            self.assertTrue(also.is_server_ready())

    def test_a_client_brings_the_configuration_and_the_model(self):
        server = self.serve("--model-control-mode=explicit")
        config = json.dumps({"backend": "onnxruntime", "max_batch_size": 8})
        with triton_http.InferenceServerClient(server.http) as client, triton_grpc.InferenceServerClient(server.grpc) as also:
            client.load_model("plus", config=config)
            self.assertEqual(client.get_model_config("plus")["max_batch_size"], 8)
            for api, each, number in ((triton_http, client, 7), (triton_grpc, also, 9)):
                each.load_model("plus", config=config, files={"file:1/model.onnx": plus(number)})
                self.assertEqual(float(ask(api, each, "plus").as_numpy("y")[0, 0]), number)
            with self.assertRaises(InferenceServerException) as caught:
                client.load_model("plus", config=config, files={"file:1/model.onnx": b"no model at all"})
            self.assertIn("plus", caught.exception.message())
            self.assertEqual(float(ask(triton_http, client, "plus").as_numpy("y")[0, 0]), 9)

    def test_sigterm_under_load_answers_all_that_was_accepted(self):
        self.repository.add("slow", slow(layers=40), 'batching = "never"\n')
        server = Server(self.repository.path)
        outcomes, one = [], np.ones((1, 1, 1), np.float32)

        def client(index):
            api, target = ((triton_grpc, server.grpc), (triton_http, server.http))[index % 2]
            with api.InferenceServerClient(target, **({"network_timeout": 60} if index % 2 else {})) as own:
                try:
                    outcomes.append(ask(api, own, "slow", one).as_numpy("y").tolist())
                except Exception as error:
                    outcomes.append(str(error))

        threads = [threading.Thread(target=client, args=(index,)) for index in range(CLIENTS)]
        try:
            for thread in threads:
                thread.start()
            server.wait_for(lambda: server.count("punctual_requests_total", model="slow") == CLIENTS)
            self.assertLess(len(outcomes), CLIENTS, "some still wait")
        finally:
            server.stop()  # It sends SIGTERM, and fails unless the exit code is 0.
            for thread in threads:
                thread.join()
        self.assertEqual(outcomes, [[[1.0]]] * CLIENTS)

    def test_after_sigterm_a_waiting_server_is_not_ready_and_takes_nothing_more(self):
        self.repository.add("slow", slow(layers=80), 'batching = "never"\n')
        server = Server(self.repository.path)
        body = json.dumps({"inputs": [{"name": "x", "shape": [1, 1, 1], "datatype": "FP32", "data": [1.0]}]}).encode()
        busy = [HTTPConnection(server.http, timeout=60) for _ in range(4)]
        late = HTTPConnection(server.http, timeout=60)
        try:
            late.request("GET", "/v2/health/ready")
            self.assertEqual(late.getresponse().read(), b'{"ready":true}')
            for connection in busy:
                connection.request("POST", "/v2/models/slow/infer", body)
            server.wait_for(lambda: server.count("punctual_requests_total", model="slow") == len(busy))
            server.process.terminate()
            server.wait_for(lambda: not server.ready())
            with self.assertRaises((ConnectionError, AssertionError)):
                late.request("POST", "/v2/models/slow/infer", body)
                self.assertEqual(late.getresponse().status, 200)
            self.assertEqual([connection.getresponse().status for connection in busy], [200] * len(busy))
            self.assertEqual(server.process.wait(60), 0)
        finally:
            for connection in (*busy, late):
                connection.close()
            server.process.kill()
            server.process.wait()
            server.folder.cleanup()
