"""ONNX Runtime by itself, in one thread: milliseconds of a lone row, and of each size of batch.

usage: raw.py MODEL SECONDS SIZE ..    (prints JSON: milliseconds by size, each the least of medians of ten parts)
"""

import json
import statistics
import sys
import time

import numpy as np
import onnxruntime


def main():
    model, seconds, sizes = sys.argv[1], float(sys.argv[2]), [int(size) for size in sys.argv[3:]]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rows = np.random.default_rng(1).standard_normal((max(sizes), 1024), np.float32)
    for size in sizes:
        session.run(None, {"x": rows[:size]})
    # Sizes take turns, so that a slow moment of the machine falls on all of them.
    medians = {size: [] for size in sizes}
    for _ in range(10):
        for size in sizes:
            medians[size].append(median(session, rows[:size], seconds / 10 / len(sizes)))
    print(json.dumps({size: min(found) for size, found in medians.items()}))


def median(session, rows, seconds):
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        session.run(None, {"x": rows})
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


if __name__ == "__main__":
    main()
