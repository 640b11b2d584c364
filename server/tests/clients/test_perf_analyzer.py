"""Triton's perf_analyzer measures the server over HTTP and gRPC and finds the statistics it asks for."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

from serving import ROOT, Repository, Server

sys.path.insert(0, str(ROOT / "models" / "examples"))
from pinned import wheels  # noqa: E402

HERE = Path(__file__).resolve().parent
PROGRAM = "tritonclient-2.40.0.data/data/bin/perf_analyzer"
LIBRARY = "libb64.so.0d"
CUDA = "nvidia/cuda_runtime/lib/libcudart.so.12"


def library(folder):
    """Where libb64 is: in the system, or unpacked from its Debian package; None where neither is to be had."""
    try:
        ctypes.CDLL(LIBRARY)
        return ""
    except OSError:
        pass
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return None
    fetched = subprocess.run(["apt-get", "download", "-q", "libb64-0d"], cwd=folder, capture_output=True)
    for package in Path(folder).glob("libb64-0d*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    found = next(Path(folder).rglob(LIBRARY), None)
    return str(found.parent) if fetched.returncode == 0 and found else None


class PerfAnalyzer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="perf-analyzer-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.obstacle = cls.prepare()
        if not cls.obstacle:
            cls.repository = Repository()
            cls.repository.example("digits_mlp_128")
            cls.server = Server(cls.repository.path)
            cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        if self.obstacle:
            self.skipTest(self.obstacle)

    @classmethod
    def prepare(cls):
        """Why the program cannot run here; None once it can."""
        if platform.machine() != "x86_64":
            return "the wheel with perf_analyzer is for x86_64"
        found = library(cls.folder.name)
        if found is None:
            return f"perf_analyzer needs {LIBRARY}: apt-get install libb64-0d"
        cls.environ = {**os.environ, "LD_LIBRARY_PATH": f"{found}:{cls.folder.name}"}
        cls.program = cls.unpack()
        missing = cls.missing()
        return f"perf_analyzer needs {', '.join(missing)}" if missing else None

    @classmethod
    def unpack(cls):
        folder = wheels(HERE / "perf_analyzer.lock", "perf_analyzer")
        for wheel, name in (("nvidia_cuda_runtime_cu12-*.whl", CUDA), ("tritonclient-*.whl", PROGRAM)):
            with zipfile.ZipFile(next(folder.glob(wheel))) as archive:
                path = Path(cls.folder.name) / Path(name).name
                path.write_bytes(archive.read(name))
                path.chmod(0o755)
        return path

    @classmethod
    def missing(cls):
        listed = subprocess.run(["ldd", cls.program], env=cls.environ, text=True, capture_output=True).stdout
        return [line.split()[0] for line in listed.splitlines() if "not found" in line]

    def measure(self, *protocol):
        command = [self.program, "-m", "digits_mlp_128", *protocol, "--concurrency-range", "2", "--shape", "x:64"]
        # Any spread will do: this asks whether the program can measure, not what it finds on a busy machine.
        command += ["--measurement-mode", "count_windows", "--measurement-request-count", "200", "-s", "100000", "-r", "5"]
        result = subprocess.run(command, env=self.environ, text=True, capture_output=True, timeout=120, cwd=self.folder.name)
        said = result.stdout + result.stderr
        self.assertNotIn("error", said.lower().replace("overhead", ""), said)
        self.assertRegex(said, r"Concurrency: 2, throughput: [1-9]", said)
        self.assertRegex(said, r"Inference count: [1-9]", said)
        self.assertRegex(said, r"queue \d+ usec.*compute input \d+ usec.*compute infer \d+ usec", said)

    def test_http(self):
        self.measure("-i", "http", "-u", self.server.http)

    def test_grpc(self):
        self.measure("-i", "grpc", "-u", self.server.grpc)

    def test_grpc_streaming(self):
        self.measure("-i", "grpc", "-u", self.server.grpc, "--streaming")
