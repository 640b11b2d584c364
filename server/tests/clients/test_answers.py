"""The example models on their real inputs: the answers are ONNX Runtime's own, alone, batched, and among a crowd."""

import threading
import unittest
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from serving import Repository, Server, reference, rows

DIGITS = ("digits_logreg", "digits_mlp_128", "digits_mlp_256x256")
TEXTS = ("input_ids", "attention_mask", "token_type_ids")
RATE = np.array(16000, np.int64)
SILENCE = np.zeros((2, 1, 128), np.float32)
CROWD, ROUNDS = 100, 5


def single(name):
    """Requests of one row: real inputs, one at a time."""
    loaded = rows(name)
    if name == "minilm":
        lengths = loaded["attention_mask"].sum(axis=1)
        return [{key: loaded[key][row : row + 1, :length] for key in TEXTS} for row, length in enumerate(lengths)]
    if name == "silero_vad":
        return [{"input": window[None], "state": SILENCE, "sr": RATE} for window in loaded["stream"][0, 12:24]]
    return [{"x": row[None]} for row in loaded["x"][:32]]


def together(name):
    """The same rows as one request, where the model has a batch axis in front."""
    if name == "minilm":
        loaded = rows(name)
        return {key: loaded[key][:8] for key in TEXTS}
    requests = single(name)
    return {key: np.concatenate([request[key] for request in requests]) for key in requests[0]}


MODELS = (*DIGITS, "gemm_mlp", "minilm", "ocr_direction", "silero_vad")
BATCHED = tuple(name for name in MODELS if name != "silero_vad")


def ask(api, client, name, request):
    inputs = []
    for key, array in request.items():
        tensor = api.InferInput(key, list(array.shape), {"f": "FP32", "i": "INT64"}[array.dtype.kind])
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return client.infer(name, inputs)


def expected(model, request):
    return dict(zip([output.name for output in model.get_outputs()], model.run(None, request)))


class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository()
        for name in MODELS:
            # Set by hand: a busy machine may measure that running together does not pay, and this is about what it does to answers.
            cls.repository.example(name, "batch_max = 32\n" if name == "gemm_mlp" else None)
        cls.server = Server(cls.repository.path)
        cls.http = triton_http.InferenceServerClient(cls.server.http, concurrency=4, network_timeout=120)
        cls.grpc = triton_grpc.InferenceServerClient(cls.server.grpc)
        cls.models = {name: reference(name) for name in MODELS}

    @classmethod
    def tearDownClass(cls):
        cls.http.close()
        cls.grpc.close()
        cls.server.stop()

    def close(self, want, got, what):
        """Within 1e-5 of the largest number of the answer."""
        self.assertEqual(want.shape, got.shape, what)
        self.assertEqual(want.dtype, got.dtype, what)
        worst = np.abs(want.astype(np.float64) - got).max() / max(np.abs(want).max(), 1e-30)
        self.assertLessEqual(worst, 1e-5, what)

    def test_one_row_is_bit_for_bit_the_runtimes_answer(self):
        for name in MODELS:
            for api, client in ((triton_http, self.http), (triton_grpc, self.grpc)):
                for index, request in enumerate(single(name)):
                    answer = ask(api, client, name, request)
                    for output, want in expected(self.models[name], request).items():
                        with self.subTest(model=name, api=api.__name__, row=index, output=output):
                            got = answer.as_numpy(output)
                            self.assertEqual((want.shape, want.dtype), (got.shape, got.dtype))
                            self.assertEqual(want.tobytes(), got.tobytes())

    def test_many_rows_in_one_request_are_the_runtimes_answers(self):
        for name in BATCHED:
            request = together(name)
            for api, client in ((triton_http, self.http), (triton_grpc, self.grpc)):
                answer = ask(api, client, name, request)
                for output, want in expected(self.models[name], request).items():
                    with self.subTest(model=name, api=api.__name__, output=output):
                        self.close(want, answer.as_numpy(output), output)

    def test_rows_sent_at_once_are_the_runtimes_answers_alone(self):
        for name in BATCHED:
            requests = single(name)
            wants = [expected(self.models[name], request) for request in requests]
            with ThreadPoolExecutor(len(requests)) as pool:
                answers = list(pool.map(lambda request: ask(triton_grpc, self.grpc, name, request), requests))
            for index, (want, answer) in enumerate(zip(wants, answers)):
                for output, array in want.items():
                    with self.subTest(model=name, row=index, output=output):
                        self.close(array, answer.as_numpy(output), output)

    def test_a_hundred_clients_each_get_their_own_answer(self):
        width = rows("gemm_mlp")["x"].shape[1]
        rng = np.random.default_rng(7)
        mixed = rng.uniform(-1, 1, (CROWD, width)).astype(np.float32)
        wants = [self.models["gemm_mlp"].run(None, {"x": row[None]})[0] for row in mixed]
        distance = min(np.abs(wants[0] - other).max() for other in wants[1:])
        self.assertGreater(distance, 1e-2, "answers that are alike would prove nothing")
        before = self.runs("gemm_mlp")
        start = threading.Barrier(CROWD)

        def client(index):
            api, target = ((triton_grpc, self.server.grpc), (triton_http, self.server.http))[index % 2]
            with api.InferenceServerClient(target) as own:
                start.wait()
                return [ask(api, own, "gemm_mlp", {"x": mixed[index][None]}).as_numpy("y") for _ in range(ROUNDS)]

        with ThreadPoolExecutor(CROWD) as pool:
            answers = list(pool.map(client, range(CROWD)))
        for index, got in enumerate(answers):
            for answer in got:
                self.close(wants[index], answer, f"client {index}")
        after = self.runs("gemm_mlp")
        self.assertEqual(after[0] - before[0], CROWD * ROUNDS)
        self.assertLess(after[1] - before[1], CROWD * ROUNDS, "nothing ran together")

    def runs(self, name):
        """How many rows were answered, in how many runs."""
        found = self.http.get_inference_statistics(name)["model_stats"][0]
        return int(found["inference_count"]), int(found["execution_count"])

    def test_two_interleaved_streams_of_speech_equal_each_alone(self):
        streams = rows("silero_vad")["stream"]
        alone = []
        for stream in streams:
            state, found = SILENCE, []
            for window in stream:
                output, state = self.models["silero_vad"].run(None, {"input": window[None], "state": state, "sr": RATE})
                found.append(output)
            alone.append(np.concatenate(found))
        states = [SILENCE for _ in streams]
        got = [[] for _ in streams]
        with ThreadPoolExecutor(len(streams)) as pool:
            for windows in zip(*streams):
                requests = [{"input": w[None], "state": s, "sr": RATE} for w, s in zip(windows, states)]
                answers = pool.map(lambda request: ask(triton_grpc, self.grpc, "silero_vad", request), requests)
                for index, answer in enumerate(answers):
                    got[index].append(answer.as_numpy("output"))
                    states[index] = answer.as_numpy("stateN")
        for index, want in enumerate(alone):
            self.assertEqual(want.tobytes(), np.concatenate(got[index]).tobytes(), f"stream {index}")
        self.assertGreater(alone[0].max(), 0.5, "the first voice is heard")
        self.assertLess(alone[0][:10].max(), 0.1, "and the silence before it is not")

    def test_padded_sentences_get_the_answers_of_their_own_length(self):
        repository = Repository()
        self.addCleanup(repository.folder.cleanup)
        pads = [f"[pad.{name}]\naxis = 1\nto_multiple_of = 16\n" for name in TEXTS]
        repository.example("minilm", "".join(pads).replace("16\n", "16\noutputs = { last_hidden_state = 1 }\n", 1))
        requests = single("minilm")
        self.assertGreater(len({request["input_ids"].shape for request in requests}), 3)
        with Server(repository.path) as server, triton_grpc.InferenceServerClient(server.grpc) as client:
            with ThreadPoolExecutor(len(requests)) as pool:
                answers = list(pool.map(lambda request: ask(triton_grpc, client, "minilm", request), requests))
        for index, (request, answer) in enumerate(zip(requests, answers)):
            for output, want in expected(self.models["minilm"], request).items():
                with self.subTest(row=index, output=output):
                    self.close(want, answer.as_numpy(output), output)

    def test_classification_names_the_digit(self):
        loaded = rows("digits_mlp_128")
        x = triton_http.InferInput("x", [4, 64], "FP32")
        x.set_data_from_numpy(loaded["x"][:4])
        best = triton_http.InferRequestedOutput("probabilities", class_count=2)
        found = self.http.infer("digits_mlp_128", [x], outputs=[best]).as_numpy("probabilities")
        want = self.models["digits_mlp_128"].run(["probabilities"], {"x": loaded["x"][:4]})[0]
        names = "zero one two three four five six seven eight nine".split()
        self.assertEqual(found.shape, (4, 2))
        for row, probabilities in zip(found, want):
            for place, text in zip(np.argsort(-probabilities)[:2], row):
                value, index, label = text.decode().split(":")
                self.assertEqual((int(index), label), (place, names[place]))
                self.assertAlmostEqual(float(value), probabilities[place], places=5)

    def test_the_digits_are_read(self):
        loaded = rows("digits_mlp_128")
        for name in DIGITS:
            parts = [ask(triton_http, self.http, name, {"x": loaded["x"][at : at + 32]}) for at in range(0, 320, 32)]
            answer = np.concatenate([part.as_numpy("digit")[:, 0] for part in parts])
            with self.subTest(name):
                self.assertGreater(np.mean(answer == loaded["digit"][:320]), 0.9)

    def test_most_text_lines_are_turned_the_right_way(self):
        loaded = rows("ocr_direction")
        answer = ask(triton_http, self.http, "ocr_direction", {"x": loaded["x"]})
        (output,) = (each["name"] for each in answer.get_response()["outputs"])
        self.assertGreater(np.mean(answer.as_numpy(output).argmax(axis=1) == loaded["upside_down"]), 0.8)

    def test_sentences_that_mean_the_same_are_near(self):
        answer = ask(triton_http, self.http, "minilm", together("minilm")).as_numpy("sentence_embedding")
        likeness = answer @ answer.T - 2 * np.eye(len(answer))
        for first in (0, 2, 4):  # The sentences come in pairs.
            self.assertEqual(likeness[first].argmax(), first + 1)
