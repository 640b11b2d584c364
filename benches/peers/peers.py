"""The servers that are compared: how each is installed, started, found ready and ended."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / "target" / "peers"
MODEL = ROOT / "target" / "examples" / "gemm_mlp" / "1" / "model.onnx"
PORT = 9470
START_SECONDS_MAX = 60

# Rows of the largest batch, milliseconds that it waits for them, and how long a request may wait, in deadlines.
Settings = namedtuple("Settings", "batch_max wait_ms queue")

# `package` is the one whose version is shown; `grid` is what is tried by `run.py tune`, each axis by itself if it matters,
# and `best` is what came out best.
Peer = namedtuple("Peer", "name title scheme package best grid")

PEERS = [
    Peer("punctual", "Punctual", "http", None, None, None),
    Peer("triton", "Triton (Python backend)", "http", "nvidia-pytriton", Settings(16, 0, 0.5), ([8, 16, 32], [0], [0.35, 0.5, 0.7])),
    Peer("bentoml", "BentoML", "http", "bentoml", Settings(16, 0, 1), ([8, 16, 32], [0], [0.7, 1])),
    Peer("litserve", "LitServe", "http", "litserve", Settings(16, 2, 0.5), ([8, 16], [0, 1, 3], [0.5])),
    Peer("ray", "Ray Serve", "http", "ray", Settings(16, 2, 1), ([8, 16], [0, 2], [1, 2])),
    Peer("mlserver", "MLServer", "grpc", "mlserver", Settings(16, 2, 1), ([4, 8, 16], [1, 3], [1])),
]


def python(name):
    return TARGET / name / "bin" / "python"


def install(name):
    """Makes the virtual environment of pinned packages, unless it is there and made of the same ones."""
    wanted = HERE / "requirements" / f"{name}.txt"
    made_of = TARGET / name / "made-of.txt"
    if made_of.exists() and made_of.read_text() == wanted.read_text():
        return
    shutil.rmtree(TARGET / name, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", TARGET / name], check=True)
    subprocess.run([python(name), "-m", "pip", "install", "--quiet", "--no-deps", "-r", wanted], check=True)
    shutil.copy(wanted, made_of)


def version(peer, binaries):
    """What the server calls itself, with its number."""
    if peer.package is None:
        return subprocess.run([binaries / "punctual", "--version"], capture_output=True, text=True).stdout.strip()
    pins = (HERE / "requirements" / f"{peer.name}.txt").read_text().splitlines()
    return next(pin for pin in pins if pin.split("==")[0] == peer.package)


def command(peer, binaries):
    if peer.package is None:
        ports = ["--http-port", str(PORT), "--grpc-port", "0", "--metrics-port", "0", "--http-address", "127.0.0.1"]
        only = ["--model-control-mode", "explicit", "--load-model", "gemm_mlp"]
        return [binaries / "punctual", "serve", "--model-repository", MODEL.parents[2], *ports, *only]
    return [python(peer.name), HERE / f"with_{peer.name}.py"]


@contextmanager
def serving(peer, settings, binaries, deadline_ms):
    """Runs a server in a process group of its own, so that all it started ends with it; gives its URL."""
    environment = {
        **os.environ,
        "PEER_PORT": str(PORT),
        "PEER_MODEL": str(MODEL),
    }
    if settings:
        environment["PEER_BATCH_MAX"] = str(settings.batch_max)
        environment["PEER_WAIT_SECONDS"] = str(settings.wait_ms / 1e3)
        environment["PEER_QUEUE_SECONDS_MAX"] = str(settings.queue * deadline_ms / 1e3)
    log = open(TARGET / f"{peer.name}.log", "w")
    child = subprocess.Popen(
        command(peer, binaries), cwd=HERE, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield f"{peer.scheme}://127.0.0.1:{PORT}", child
    finally:
        end(child)
        log.close()


def end(child):
    """Asks the whole group to end and, after a while, ends it."""
    for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            child.poll()
            try:
                os.killpg(child.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)
