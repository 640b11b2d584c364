"""Runs every check and test in order and ends with one line that counts them.

usage: checks.py [STEP ..]    (all steps by default; any Python >= 3.9)
All output of a step goes to target/checks/STEP.log; the terminal shows its outline, and what matters of the log where a step fails.
A step that counts no tests of its own counts as one.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "target" / "checks"
CLIENTS = ROOT / "server" / "tests" / "clients" / "run.py"
# Lines of a failed step that are shown where no Rust test failed.
TAIL = 150
OUTLINE = re.compile(r"\s*(Compiling|Checking|Documenting|Running|Doc-tests|Finished|error|warning|test result:|FAILED|FAIL:|ERROR:)\b")

Outcome = namedtuple("Outcome", "passed failed skipped reasons")


def steps():
    """Name, command, changes to the environment, and why the step cannot run here (empty where it can)."""
    workspace = ["--workspace", "--all-targets"]
    return [
        ("fmt", ["cargo", "fmt", "--all", "--check"], {}, ""),
        ("clippy", ["cargo", "clippy", *workspace, "--", "-D", "warnings"], {}, ""),
        ("test", ["cargo", "test", "--workspace", "--no-fail-fast", "--", "--show-output"], {}, ""),
        # Libraries only: a binary of benches has the name of a library, and their pages would overwrite each other.
        ("doc", ["cargo", "doc", "--workspace", "--no-deps", "--lib", "--keep-going"], {"RUSTDOCFLAGS": "-D warnings"}, ""),
        ("deny", ["cargo", "deny", "check", "bans", "licenses", "sources"], {}, missing_program("cargo-deny", "cargo install cargo-deny")),
        ("instructions", ["make", "--no-print-directory", "bench-instructions"], {}, missing_program("valgrind", "of the system's packages")),
        ("clients", [sys.executable, str(CLIENTS), "target/debug/punctual"], {}, ""),
    ]


def missing_program(name, where):
    return "" if shutil.which(name) else f"{name} is not installed ({where})"


def main():
    known, wanted = steps(), sys.argv[1:]
    names = [step[0] for step in known]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        sys.exit(f"unknown step {unknown[0]}; the steps are {' '.join(names)}")
    LOGS.mkdir(parents=True, exist_ok=True)
    rows = [run(*step) for step in known if not wanted or step[0] in wanted]
    print()
    for name, seconds, outcome in rows:
        print(f"{name:12} {seconds:7.1f} s  {outcome.passed:5} passed {outcome.failed:3} failed {outcome.skipped:3} skipped")
        for reason in outcome.reasons:
            print(f"{'':24}skipped: {reason}")
    total = [sum(getattr(outcome, field) for _, _, outcome in rows) for field in ("passed", "failed", "skipped")]
    print("{} passed, {} failed, {} skipped".format(*total))
    sys.exit(1 if total[1] else 0)


def run(name, command, changes, obstacle):
    """Runs one step; its name, its seconds and its outcome."""
    if obstacle:
        print(f"== {name}: skipped, {obstacle}", flush=True)
        return name, 0.0, Outcome(0, 0, 1, [obstacle])
    print(f"== {name}: {' '.join(command)}", flush=True)
    began = time.monotonic()
    log = LOGS / f"{name}.log"
    returned = execute(command, {**os.environ, **changes}, log)
    text = log.read_text(errors="replace")
    if returned != 0:
        print("\n".join(["", f"-- from {log.relative_to(ROOT)}", *telling(text.splitlines())]), flush=True)
    return name, time.monotonic() - began, counted(text, returned)


def execute(command, environment, log):
    """Runs a command with its output in a log and the outline of it on the terminal; its exit code, 127 where it cannot start."""
    with open(log, "w") as file:
        try:
            child = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            file.write(f"{command[0]} cannot be started: {error}\n")
            return 127
        for line in child.stdout:
            file.write(line)
            if OUTLINE.match(line):
                print(line, end="", flush=True)
        return child.wait()


def telling(lines):
    """The lines of a failed step that say why: what its failed Rust tests printed, or else its end."""
    found, inside = [], False
    for line in lines:
        inside = line == "failures:" or (inside and not line.startswith("test result:"))
        if inside:
            found.append(line)
    return found or lines[-TAIL:]


def counted(text, returned):
    """The tests that a log counts: those of cargo, of unittest, and of lines like our own last one."""
    passed = failed = skipped = 0
    for match in re.finditer(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", text, re.MULTILINE):
        passed, failed, skipped = passed + int(match[1]), failed + int(match[2]), skipped + int(match[3])
    for match in re.finditer(r"^Ran (\d+) tests? in .*\n\n(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?", text, re.MULTILINE):
        kinds = {kind: int(count) for kind, count in re.findall(r"([a-z][a-z ]*)=(\d+)", match[2] or "")}
        bad = kinds.get("failures", 0) + kinds.get("errors", 0) + kinds.get("unexpected successes", 0)
        off = kinds.get("skipped", 0)
        passed, failed, skipped = passed + int(match[1]) - bad - off, failed + bad, skipped + off
    for match in re.finditer(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", text, re.MULTILINE):
        passed, failed, skipped = passed + int(match[1]), failed + int(match[2]), skipped + int(match[3])
    reasons = skipped_inside(text)
    # A test that says `skipped: why` has proved nothing, though cargo counts it as passed.
    passed, skipped = passed - len(reasons), skipped + len(reasons)
    # unittest counts these itself, and says why at the end of the test's line.
    reasons += re.findall(r"\.\.\. skipped ['\"](.*)['\"]$", text, re.MULTILINE)
    if returned != 0 and failed == 0:
        failed = 1
    if passed + failed + skipped == 0:
        passed = 1
    return Outcome(passed, failed, skipped, sorted(set(reasons)))


def skipped_inside(text):
    """The first reason of each Rust test that printed one; its output stands in a block under `---- NAME stdout ----`."""
    reasons, seen = [], True
    for line in text.splitlines():
        if re.fullmatch(r"---- .* stdout ----", line):
            seen = False
        elif line in ("successes:", "failures:"):
            seen = True
        elif not seen and line.startswith("skipped: "):
            reasons.append(line[len("skipped: ") :])
            seen = True
    return reasons


if __name__ == "__main__":
    main()
