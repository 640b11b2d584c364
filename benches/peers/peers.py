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
STOP_SECONDS_MAX = 8

# Rows of the largest batch, milliseconds that it waits for them, how long a request may wait (in deadlines; what the peer does
# then is in its recipe), and workers beside the process that reads requests, where the peer leaves that open.
Settings = namedtuple("Settings", "batch_max wait_ms queue workers")

# `package` is the one whose version is shown; `best` is what came out best of `grid`, which `run.py tune:NAME` tries.
Peer = namedtuple("Peer", "name title scheme package best grid")

PEERS = [
    Peer("punctual", "Punctual", "http", None, None, None),
    Peer(
        "triton",
        "Triton (Python backend)",
        "http",
        "nvidia-pytriton",
        Settings(16, 0, 0.35, 0),
        ([16, 32], [0], [0.35, 0.5], [0]),
    ),
    Peer("bentoml", "BentoML", "http", "bentoml", Settings(16, 0, 1, 0), ([8, 16], [0], [0.7, 1, 4], [0])),
    Peer("litserve", "LitServe", "http", "litserve", Settings(8, 1, 0.5, 0), ([8, 16], [0, 1, 3], [0.5, 1], [0])),
    Peer("ray", "Ray Serve", "http", "ray", Settings(16, 2, 10, 0), ([16], [0, 2], [1, 10], [0])),
    Peer("mlserver", "MLServer", "grpc", "mlserver", Settings(16, 1, 1, 0), ([4, 16], [1], [1], [0, 1])),
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
        environment["PEER_WORKERS"] = str(settings.workers)
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


def processes():
    """The processes of the server: all that have inherited its environment, in whatever group they are."""
    mark, found = f"PEER_PORT={PORT}".encode(), []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def cpu_seconds():
    """Seconds of CPU of the server's processes."""
    ticks = 0
    for process in processes():
        try:
            ticks += sum(map(int, Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def end(child):
    """Asks the server to end and, after a while, ends all of it."""
    child.terminate()
    until = time.monotonic() + STOP_SECONDS_MAX
    while processes() and time.monotonic() < until:
        child.poll()
        time.sleep(0.1)
    for process in processes():
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    child.wait()
