"""Asks a server for three rows over HTTP and holds its answers against ONNX Runtime's own.

usage: check.py URL MODEL json|binary    (exits with 1 where they differ)
"""

import json
import sys
import urllib.request

import numpy as np
import onnxruntime


def main():
    url, model, form = sys.argv[1:]
    rows = np.random.default_rng(2).standard_normal((3, 1024), np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for row in rows:
        wanted = session.run(None, {"x": row[None]})[0]
        found = ask(f"{url}/v2/models/gemm_mlp/infer", row[None], form == "binary")
        if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=1e-3, atol=1e-4):
            sys.exit(f"{url} answers otherwise than ONNX Runtime")


def ask(url, row, binary):
    one = {"name": "x", "shape": row.shape, "datatype": "FP32"}
    body, headers = {"inputs": [one]}, {"content-type": "application/json"}
    if not binary:
        one["data"] = row.ravel().tolist()
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=10) as answer:
            output = json.load(answer)["outputs"][0]
        return np.array(output["data"], np.float32).reshape(output["shape"])
    one["parameters"], body["parameters"] = {"binary_data_size": row.nbytes}, {"binary_data_output": True}
    head = json.dumps(body).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    with urllib.request.urlopen(urllib.request.Request(url, head + row.tobytes(), headers), timeout=10) as answer:
        raw, head_len = answer.read(), int(answer.headers["inference-header-content-length"])
    shape = json.loads(raw[:head_len])["outputs"][0]["shape"]
    return np.frombuffer(raw, np.float32, offset=head_len).reshape(shape)


if __name__ == "__main__":
    main()
