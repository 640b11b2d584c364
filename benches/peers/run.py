"""Offers the same load to Punctual and to its peers and draws goodput against offered load.

usage: run.py [--seconds S] [--loads L,..] [--binaries FOLDER] [--client-core N] [install | scale | PEER | draw | tune:PEER] ..
Without words: all of them but the last, in that order. `scale` measures ONNX Runtime alone, which fixes the rates and the
deadline for all; PEER measures one server; `draw` writes docs/plots/peers.csv and .svg and prints the table; `tune:PEER` says
which of the settings in peers.py is best. Needs Linux, Python >= 3.10 and, in FOLDER, punctual and punctual-bench.
"""

import argparse
import datetime
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import draw
from peers import MODEL, PEERS, PORT, ROOT, START_SECONDS_MAX, TARGET, Settings, cpu_seconds, install, python, serving, version

LOADS = "0.1,0.2,0.35,0.5,0.8,1,1.2,1.5,2,3"
DEADLINE_LONE = 6
# Rows of the batches whose rate is the capacity: the largest power of two that takes less than two thirds of the deadline.
BATCH = 16
TUNE_LOADS = [0.1, 0.2, 0.5, 1]
CHECKS_MAX = 10
TRIES_MAX = 2
OTHERS_MAX = 0.04
SIZES = [1, 2, 4, 8, 16, 32, 64]
SCALE = TARGET / "scale.json"


def main():
    arguments = parse()
    # Ends as an exception does, so that the server ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    for word in arguments.words or ["install", "scale", *(peer.name for peer in PEERS), "draw"]:
        if word == "install":
            for name in ["raw", *(peer.name for peer in PEERS if peer.package)]:
                install(name)
        elif word == "scale":
            SCALE.write_text(json.dumps(scale()))
            print(SCALE.read_text())
        elif word == "draw":
            draw.draw(TARGET, ROOT / "docs" / "plots")
        elif word.startswith("tune:"):
            tune(named(word.removeprefix("tune:")), arguments)
        else:
            measure(named(word), arguments)


def named(name):
    found = [peer for peer in PEERS if peer.name == name]
    return found[0] if found else sys.exit(f"no peer {name}: {' '.join(peer.name for peer in PEERS)}")


def parse():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--loads", type=lambda text: [float(load) for load in text.split(",")], default=LOADS)
    parser.add_argument("--binaries", type=Path, default=ROOT / "target" / "release")
    parser.add_argument("--client-core", type=int, default=0)
    parser.add_argument("words", nargs="*")
    return parser.parse_args()


def raw(seconds, sizes):
    """Milliseconds of ONNX Runtime alone, by size of batch."""
    arguments = [python("raw"), Path(__file__).with_name("raw.py"), MODEL, str(seconds), *map(str, sizes)]
    found = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    return {int(size): time for size, time in found.items()}


def scale():
    """The deadline, and the capacity in rows a second."""
    times = raw(8, SIZES)
    return {
        "deadline_ms": round(DEADLINE_LONE * times[1], 2),
        "capacity": round(BATCH / times[BATCH] * 1e3, 1),
        "raw_ms": {size: round(time, 3) for size, time in times.items()},
    }


def measure(peer, arguments):
    """All loads on one server; its points go to a file of its own."""
    fixed = json.loads(SCALE.read_text())
    pace = BATCH / raw(1, [BATCH])[BATCH] * 1e3
    common = {
        "peer": peer.name,
        "title": peer.title,
        "version": version(peer, arguments.binaries),
        "settings": " ".join(f"{key}={value}" for key, value in peer.best._asdict().items()) if peer.best else "defaults",
        "protocol": peer.scheme,
        "date": datetime.date.today().isoformat(),
        "capacity": fixed["capacity"],
        "raw_now": round(pace, 1),
        "deadline_ms": fixed["deadline_ms"],
    }
    with serving(peer, peer.best, arguments.binaries, fixed["deadline_ms"]) as (url, child):
        client = Client(url, arguments)
        client.wait_ready(child)
        check(peer)
        print(f"{peer.title} is ready", flush=True)
        client.play("--concurrency", BATCH, "--duration", "3s")
        points = [{**common, **undisturbed(client, load, fixed)} for load in arguments.loads]
    (TARGET / f"{peer.name}.json").write_text(json.dumps(points, indent=1))


def check(peer):
    """Ends unless the server answers what ONNX Runtime answers; one asked over gRPC has HTTP, with JSON, on the next port."""
    port, form = (PORT, "binary") if peer.scheme == "http" else (PORT + 1, "json")
    arguments = [python("raw"), Path(__file__).with_name("check.py"), f"http://127.0.0.1:{port}", MODEL, form]
    # One that gives up after a few milliseconds may do so at its first requests.
    for _ in range(CHECKS_MAX - 1):
        if subprocess.run(arguments, capture_output=True).returncode == 0:
            return
    subprocess.run(arguments, check=True)


def tune(peer, arguments):
    """Goodput at a few loads for each setting of the peer's grid."""
    fixed = json.loads(SCALE.read_text())
    for settings in itertools.starmap(Settings, itertools.product(*peer.grid)):
        with serving(peer, settings, arguments.binaries, fixed["deadline_ms"]) as (url, child):
            client = Client(url, arguments)
            client.wait_ready(child)
            client.play("--concurrency", BATCH, "--duration", "1s")
            found = [point(client, load, fixed)["goodput"] for load in TUNE_LOADS]
        print(peer.name, settings, found, round(sum(found), 1), flush=True)


def undisturbed(client, load, fixed):
    """A point beside which others used little of the machine, or of a few tries the least disturbed one."""
    tries = []
    while not tries or (len(tries) < TRIES_MAX and tries[-1]["others_cpu"] > OTHERS_MAX):
        tries.append(point(client, load, fixed))
    return min(tries, key=lambda found: found["others_cpu"])


def point(client, load, fixed):
    # What the last load left in a queue is gone when a few fresh requests are answered.
    client.play("--concurrency", 4, "--duration", "0.5s")
    rate, deadline = load * fixed["capacity"], fixed["deadline_ms"]
    before = others()
    seconds = f"{client.seconds}s"
    report = client.play("--rate", rate, "--deadline", f"{deadline}ms", "--timeout", "2s", "--duration", seconds)
    strange = (others() - before) / (os.cpu_count() * client.seconds)
    tally = report["tally"]
    found = {
        "load": load,
        "offered": report["offered_rate"],
        "goodput": round(report["goodput"], 1),
        "answers": round(report["throughput"], 1),
        "p50_ms": report["latency"]["p50_ms"],
        "p99_ms": report["latency"]["p99_ms"],
        "requests": tally["requests"],
        "in_time": tally["in_time"],
        "late": tally["late"],
        "refused": sum(tally["refused"].values()),
        "errors": sum(tally["errors"].values()),
        "timeouts": tally["timeouts"],
        "lost": tally["connections_lost"] + tally["cancelled"],
        "client_lag_p99_ms": round(report["lag"]["p99_ms"], 3),
        "client_on_time": report["client_on_time"],
        "others_cpu": round(strange, 3),
        "command": " ".join([*client.first, client.last]),
    }
    shown = {key: value for key, value in found.items() if key != "command"}
    print(" ".join(f"{key}={value}" for key, value in shown.items()), flush=True)
    return found


def others():
    """Seconds of CPU that neither the server nor this program and its children have used."""
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _wait, irq, softirq = map(int, Path("/proc/stat").read_text().split(None, 8)[1:8])
    busy = (user + nice + system + irq + softirq) / tick
    own = os.times()
    return busy - sum(own[:4]) - cpu_seconds()


class Client:
    """The load generator, pinned to a core, against one server."""

    def __init__(self, url, arguments):
        self.bench = arguments.binaries / "punctual-bench"
        self.url, self.core, self.seconds, self.last = url, arguments.client_core, arguments.seconds, ""
        # The client goes before the servers whose core it shares, since one that waits for them measures itself.
        first = ["chrt", "--fifo", "1"]
        allowed = subprocess.run([*first, "true"], capture_output=True).returncode == 0
        self.first = first if allowed else []

    def wait_ready(self, child):
        until = time.monotonic() + START_SECONDS_MAX
        while True:
            if child.poll() is not None:
                sys.exit(f"{child.args[-1]} ended: see {TARGET}/*.log")
            try:
                return self.play("--concurrency", 1, "--duration", "0.3s", tries=1)
            except RuntimeError as error:
                if time.monotonic() > until:
                    sys.exit(f"not ready after {START_SECONDS_MAX} s: {error}")
                time.sleep(0.3)

    def play(self, *load, tries=5):
        """One run's report. A server that answers the probe before a run with an error gets a few more of them."""
        arguments = ["run", "--url", self.url, "--model", "gemm_mlp", *map(str, load), "--json"]
        self.last = " ".join(["punctual-bench", *arguments])
        pinned = [*self.first, "taskset", "-c", str(self.core), self.bench, *arguments]
        for _ in range(tries):
            done = subprocess.run(pinned, capture_output=True, text=True)
            # 3: some requests ended in an error, which the report counts.
            if done.returncode in (0, 3) and done.stdout:
                return json.loads(done.stdout)
            time.sleep(0.3)
        raise RuntimeError(done.stderr.strip())


if __name__ == "__main__":
    main()
