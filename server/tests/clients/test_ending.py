"""How the server ends: what it still answers, whom it waits for, and its exit code."""

import os
import random
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from serving import EXAMPLES, ROOT

ROUNDS = 12


class WhileModelsLoad(unittest.TestCase):
    def test_a_signal_while_models_load_ends_the_server_well(self):
        """The runtime must not be torn down under the thread that loads."""
        rng = random.Random(7)
        for number in range(ROUNDS):
            with self.subTest(number), tempfile.TemporaryDirectory() as folder:
                log = Path(folder) / "log"
                ports = Path(folder) / "ports.json"
                command = [os.environ["PUNCTUAL"], "serve", "--model-repository", str(EXAMPLES), "--ports-file", str(ports)]
                command += ["--http-port=0", "--grpc-port=0", "--metrics-port=0"]
                with open(log, "w") as output:
                    environ = {**os.environ, "XDG_CACHE_HOME": folder}
                    process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environ)
                try:
                    while not ports.exists() and process.poll() is None:
                        time.sleep(0.005)
                    time.sleep(rng.random() / 2)
                    twice = number % 3 == 2
                    process.send_signal(signal.SIGTERM)
                    if twice:
                        time.sleep(rng.random() / 100)
                        process.send_signal(signal.SIGTERM)
                    code = process.wait(60)
                finally:
                    process.kill()
                said = log.read_text()
                self.assertIn(code, (0, 1) if twice else (0,), said)
                self.assertNotIn("ERROR", said)


if __name__ == "__main__":
    unittest.main()
