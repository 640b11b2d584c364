"""Is a line of text upright or upside down? The model is rapidocr's, the lines are cut from a scanned page of scikit-image."""

import io
import zipfile

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 192
MODEL = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"


def build(wheels):
    with zipfile.ZipFile(next(wheels.glob("rapidocr_onnxruntime-*.whl"))) as wheel:
        model = wheel.read(MODEL)
    with zipfile.ZipFile(next(wheels.glob("scikit_image-*.whl"))) as wheel:
        lines = cut(wheel.read("skimage/data/page.png"))
    turned = [line.rotate(180) for line in lines]
    x = np.stack([prepared(line) for line in lines + turned])
    upside_down = np.array([0] * len(lines) + [1] * len(turned))
    return model, {"x": x, "upside_down": upside_down}, {"x": x[:1]}


def cut(png):
    """The lines of a page: runs of rows darker than the page around them, with their margins cut off."""
    page = Image.open(io.BytesIO(png)).convert("L")
    pixels = np.asarray(page, np.float32)
    # The light of this scan falls off to one side, so each pixel is held against the brightest near it.
    paper = np.array([[block.max() for block in np.array_split(row, 8, axis=1)] for row in np.array_split(pixels, 4)])
    local = np.asarray(Image.fromarray(paper.astype(np.float32)).resize(page.size, Image.BILINEAR))
    ink = pixels < 0.6 * local
    lines = [span for span in spans(ink.mean(axis=1) > 0.02) if span[1] - span[0] >= 8]
    found = []
    for top, bottom in lines:
        columns = np.flatnonzero(ink[top:bottom].any(axis=0))
        found.append(page.crop((max(columns[0] - 3, 0), max(top - 3, 0), columns[-1] + 4, min(bottom + 3, page.height))))
    return found


def spans(flags):
    """The (start, end) of each run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2], edges[1::2]))


def prepared(line):
    """As PaddleOCR feeds it: 48 rows high, at most 192 wide, numbers in [-1, 1], the rest zero."""
    width = min(WIDTH, round(line.width * HEIGHT / line.height))
    # A long line is judged by its beginning: squeezed to this width it could not be read.
    kept = line.crop((0, 0, min(line.width, round(line.height * WIDTH / HEIGHT)), line.height))
    pixels = np.asarray(kept.resize((width, HEIGHT), Image.BILINEAR), np.float32) / 127.5 - 1
    x = np.zeros((3, HEIGHT, WIDTH), np.float32)
    x[:, :, :width] = pixels
    return x
