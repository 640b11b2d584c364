"""Replays recorded arrivals against Punctual and, the same workload files, in virtual time, and lays both over each other.

usage: run.py [--binaries FOLDER] [--plots FOLDER] [WORKLOAD ..]
WORKLOAD: azure_functions and twitter (loadgen/workloads), by default both. Results, pages and logs go to target/traces; with
--plots the plots of documents go there. Needs Linux, Python >= 3.9 and, in FOLDER, punctual, punctual-bench and punctual-sim.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target" / "traces"
WORKLOADS = ROOT / "loadgen" / "workloads"
# Where the workload files look for the traces.
TRACES = ROOT.parent / "shared" / "data" / "traces"
MODELS = ["gemm_mlp", "ocr_direction", "minilm", "digits_logreg", "digits_mlp_256x256"]
START_SECONDS_MAX = 120
# Plots of a page that documents show, of the measured run and of both.
SHOWN = {"real": ["timeline"], "both": ["timeline", "latency-timeline"]}


def main():
    arguments = parse()
    if not TRACES.exists():
        print(f"skipped: the recorded arrivals are read from {os.path.relpath(TRACES, ROOT)}, which is absent")
        return
    # Ends as an exception does, so that the server ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in arguments.workloads or ["azure_functions", "twitter"]:
        replay(name, arguments)


def parse():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--binaries", type=Path, default=ROOT / "target" / "release")
    parser.add_argument("--plots", type=Path)
    parser.add_argument("workloads", nargs="*")
    return parser.parse_args()


def replay(name, arguments):
    """One workload: measured, simulated, and both on one page."""
    workload = WORKLOADS / f"{name}.toml"
    real, simulated, both = (TARGET / f"{name}-{kind}" for kind in ("real", "simulated", "both"))
    with serving(arguments.binaries) as ports:
        url = f"http://127.0.0.1:{ports['http']}"
        profiles = [argument for model in MODELS for argument in ("--profile", f"{model}={profile(url, model)}")]
        # What the server learns of run times under load it has learnt before the run that counts.
        metrics = ["--metrics", f"http://127.0.0.1:{ports['metrics']}/metrics"]
        asked = ["run", "--url", url, "--workload", workload, *metrics, "--name", "measured", "--quiet"]
        bench(arguments, *asked, "--duration", "5s", show=False)
        bench(arguments, *asked, "--out", f"{real}.json")
    simulator = [arguments.binaries / "punctual-sim", "run", "--workload", workload, *profiles]
    run([*simulator, "--out", f"{simulated}.json"])
    results = [f"{real}.json", f"{simulated}.json"]
    bench(arguments, "report", *results, "--out", f"{both}.html")
    print(f"pages: {real}.html {simulated}.html {both}.html")
    if arguments.plots:
        for kind, files in (("real", results[:1]), ("both", results)):
            plots = TARGET / f"{name}-{kind}-plots"
            bench(arguments, "report", *files, "--plots", plots)
            for plot in SHOWN[kind]:
                of = "trace" if kind == "real" else "trace-both"
                (arguments.plots / f"{of}-{name}-{plot}.svg").write_text((plots / f"{plot}.svg").read_text())


def bench(arguments, *words, show=True):
    """The load generator on the core of the server's IO threads, before which it goes: one that waits measures itself."""
    first = ["chrt", "--fifo", "1"]
    allowed = subprocess.run([*first, "true"], capture_output=True).returncode == 0
    command = [*(first if allowed else []), "taskset", "-c", "0", arguments.binaries / "punctual-bench", *words]
    if show:
        run(command)
    else:
        subprocess.run(command, capture_output=True)


def run(command):
    """Runs a command and prints it and what it says."""
    print("$", " ".join(map(str, command)).replace(f"{ROOT}/", ""), flush=True)
    # 3: some requests ended in an error, which the report counts.
    if subprocess.run(command).returncode not in (0, 3):
        sys.exit(f"failed: {command[0]}")


def profile(url, model):
    """A file with the times that the server measured at load, up to the largest batch that it runs."""
    measured = json.loads(get(f"{url}/v2/models/{model}/profile"))
    rows = [point for point in measured["points"] if point["batch"] <= measured["batch_max"]]
    lines = [f"{row['batch']},{row['median_us']},{row['p99_us']}" for row in rows]
    file = TARGET / f"{model}.csv"
    file.write_text("\n".join(["batch,median_us,p99_us", *lines, ""]))
    return file


def get(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


@contextmanager
def serving(binaries):
    """Serves the example models: its executor on the last core, its IO threads on the others."""
    ports_file = TARGET / "ports.json"
    ports_file.unlink(missing_ok=True)
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--http-address", "127.0.0.1"]
    only = [word for model in MODELS for word in ("--load-model", model)]
    command = [binaries / "punctual", "serve", "--model-repository", ROOT / "target" / "examples", *ports]
    command += ["--ports-file", ports_file, "--model-control-mode", "explicit", *only]
    with open(TARGET / "server.log", "w") as log:
        child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        yield ready(child, ports_file)
    finally:
        child.terminate()
        child.wait()


def ready(child, ports_file):
    until = time.monotonic() + START_SECONDS_MAX
    while child.poll() is None and time.monotonic() < until:
        try:
            ports = json.loads(ports_file.read_text())
            get(f"http://127.0.0.1:{ports['http']}/v2/health/ready")
            return ports
        except (OSError, ValueError, urllib.error.URLError):
            time.sleep(0.1)
    sys.exit(f"the server did not become ready: see {TARGET}/server.log")


if __name__ == "__main__":
    main()
