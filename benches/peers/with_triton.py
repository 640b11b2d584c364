"""Triton's core as nvidia-pytriton ships it, with the Python backend: dynamic batching, late requests rejected from the queue.

The server runs by itself on a model repository; pytriton's own proxy between processes is left out, which only helps it.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import oip

CONFIG = """name: "{name}"
backend: "python"
max_batch_size: {batch_max}
input [ {{ name: "x", data_type: TYPE_FP32, dims: [ 1024 ] }} ]
output [ {{ name: "y", data_type: TYPE_FP32, dims: [ 1000 ] }} ]
instance_group [ {{ kind: KIND_CPU, count: 1 }} ]
dynamic_batching {{
  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: {queue_us_max}
    allow_timeout_override: true
  }}
}}
"""


def folders():
    """A backend folder that has the stub of this Python, and a repository with the model."""
    site = Path(sys.prefix, "lib", f"python3.{sys.version_info.minor}", "site-packages")
    server, scratch = site / "pytriton" / "tritonserver", Path(tempfile.mkdtemp(prefix="peer-triton-"))
    shutil.copytree(server / "backends", scratch / "backends")
    stub = server / "python_backend_stubs" / f"3.{sys.version_info.minor}" / "triton_python_backend_stub"
    shutil.copy2(stub, scratch / "backends" / "python")
    model = scratch / "repository" / oip.NAME
    (model / "1").mkdir(parents=True)
    shutil.copy2(Path(__file__).with_name("triton_model.py"), model / "1" / "model.py")
    queue_us_max = int(oip.QUEUE_SECONDS_MAX * 1e6)
    text = CONFIG.format(name=oip.NAME, batch_max=oip.BATCH_MAX, queue_us_max=queue_us_max)
    (model / "config.pbtxt").write_text(text)
    return site, server, scratch


def main():
    site, server, scratch = folders()
    os.environ["LD_LIBRARY_PATH"] = str(site / "nvidia_pytriton.libs")
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = f"{Path(__file__).parent}:{site}"
    arguments = [
        f"--model-repository={scratch / 'repository'}",
        f"--backend-directory={scratch / 'backends'}",
        f"--http-port={oip.PORT}",
        "--http-address=127.0.0.1",
        "--allow-grpc=false",
        "--allow-metrics=false",
    ]
    os.execv(server / "bin" / "tritonserver", ["tritonserver", *arguments])


if __name__ == "__main__":
    main()
