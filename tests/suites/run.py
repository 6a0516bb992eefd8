# SPDX-License-Identifier: Apache-2.0
"""Runs a folder of unittest files that others wrote, such as op-plugin's or torch_npu's, on the NPU of this process.

    flexnpu softnpu run -- python tests/suites/run.py PATH… [--jobs 2] [--timeout 60] --json results.json

Files run in forks with torch_npu imported once. An operator that fails leaves torch_npu unusable, so after a test that
fails the rest of its file goes on in another fork. A test that takes longer than the timeout, or that crashes, counts
as failed. Nothing of the suites is kept here.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

UNBOUND = re.compile(r"(?:operator )?(\w+)(?: of the graph compiler)? is not bound in the software NPU")


class TooLongError(Exception):
    """A test has not ended within its time."""


class Recorder(unittest.TestResult):
    """A JSON line for each test as it ends."""

    def __init__(self, stream: Any, timeout: int) -> None:
        super().__init__()
        self._stream, self._timeout = stream, timeout

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._tell(test, "started")
        signal.alarm(self._timeout)

    def stopTest(self, test: unittest.TestCase) -> None:
        signal.alarm(0)
        super().stopTest(test)

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._tell(test, "passed")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._tell(test, "skipped", reason)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self._tell(test, "failed", self._exc_info_to_string(err, test))
        self.stop()

    addFailure = addError  # noqa: N815 - unittest's name

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self.addError(test, err)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._tell(test, "passed")

    def _tell(self, test: unittest.TestCase, outcome: str, why: str = "") -> None:
        self._stream.write(json.dumps({"test": test.id(), "outcome": outcome, "why": why[-4000:]}) + "\n")
        self._stream.flush()


def each_test(tests: unittest.TestSuite | unittest.TestCase) -> Iterator[unittest.TestCase]:
    if isinstance(tests, unittest.TestCase):
        yield tests
    else:
        for part in tests:
            yield from each_test(part)


def run_file(path: Path, out: Path, timeout: int, done: set[str]) -> None:
    """In the fork: the tests of one file that are not done, until one fails."""

    def too_long(*_: object) -> None:
        raise TooLongError(f"no end after {timeout} s")

    signal.signal(signal.SIGALRM, too_long)
    os.chdir(path.parent)
    sys.path.insert(0, str(path.parent))
    sys.argv = [str(path)]
    with out.open("w") as stream:
        recorder = Recorder(stream, timeout)
        try:
            spec = importlib.util.spec_from_file_location(path.stem, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module
            spec.loader.exec_module(module)
            every = each_test(unittest.defaultTestLoader.loadTestsFromModule(module))
            tests = unittest.TestSuite(test for test in every if test.id() not in done)
        except unittest.SkipTest as reason:
            recorder.addSkip(unittest.FunctionTestCase(lambda: None, description=path.stem), str(reason))
            return
        except BaseException as error:
            stream.write(json.dumps({"test": path.stem, "outcome": "failed", "why": f"import: {error!r}"}) + "\n")
            return
        tests.run(recorder)


def in_forks(path: Path, folder: Path, timeout: int, most: int) -> list[dict[str, str]]:
    """One file, from fork to fork, for at most so many seconds each."""
    found: dict[str, dict[str, str]] = {}
    while True:
        told = in_a_fork(path, folder, timeout, most, set(found))
        found.update(told)
        if not any(each["outcome"] == "failed" and each["test"] != path.stem for each in told.values()):
            return [{"file": str(path), **each} for each in found.values()]


def in_a_fork(path: Path, folder: Path, timeout: int, most: int, done: set[str]) -> dict[str, dict[str, str]]:
    out, log = folder / "out.jsonl", folder / "log"
    out.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        faulthandler.enable()
        killer = os.fork()  # one that no test can hold up
        if killer == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            parent = os.getppid()
            for _ in range(most):
                signal.sigtimedwait([], 1)
                if os.getppid() != parent:
                    os._exit(0)
            os.kill(parent, signal.SIGKILL)
            os._exit(0)
        run_file(path, out, timeout, done)
        os.kill(killer, signal.SIGKILL)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found: dict[str, dict[str, str]] = {}
    for line in out.read_text().splitlines() if out.exists() else []:
        told = json.loads(line)
        before = found.get(told["test"])
        if before is None or before["outcome"] == "started" or told["outcome"] == "failed":
            found[told["test"]] = told
    for each in found.values():
        if each["outcome"] == "started":
            each.update(outcome="failed", why=f"the process ended with {status}: {tail(log)}")
    if not found and status != 0:
        found[path.stem] = {"test": path.stem, "outcome": "failed", "why": f"ended with {status}: {tail(log)}"}
    return found


def tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=int, default=60, help="seconds of one test")
    parser.add_argument("--file-timeout", type=int, default=240, help="seconds of one file")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    files = sorted(
        file.resolve() for path in given.paths for file in ([path] if path.is_file() else path.rglob("test_*.py"))
    )
    if given.jobs > 1:  # forks of a process with threads are not safe, so each job is a process without
        found = in_parts(files, given)
    else:
        import torch  # noqa: PLC0415 - heavy, and the parent of the parts needs none of it
        import torch_npu  # noqa: PLC0415 - brings the device
        import torch_npu.testing.testcase  # noqa: F401, PLC0415 - imported once, for all forks

        torch.set_num_threads(1)
        found = []
        with tempfile.TemporaryDirectory() as folder:
            for file in files:
                found += in_forks(file, Path(folder), given.timeout, given.file_timeout)
    given.json.write_text(json.dumps(found, indent=0))
    report(found)


def in_parts(files: list[Path], given: argparse.Namespace) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:

        def part(number: int) -> list[dict[str, str]]:
            mine = [str(file) for file in files[number :: given.jobs]]
            out = Path(folder) / f"{number}.json"
            limits = ["--timeout", str(given.timeout), "--file-timeout", str(given.file_timeout)]
            command = [sys.executable, __file__, *mine, "--jobs", "1", *limits, "--json", str(out)]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            return json.loads(out.read_text())

        with ThreadPoolExecutor(given.jobs) as pool:
            return [each for found in pool.map(part, range(min(given.jobs, len(files)))) for each in found]


def report(found: list[dict[str, str]]) -> None:
    outcomes = collections.Counter(each["outcome"] for each in found)
    unbound = collections.Counter(name for each in found for name in set(UNBOUND.findall(each["why"])))
    for name, count in unbound.most_common():
        print(f"{count:5} tests need {name}")
    applied = outcomes["passed"] + outcomes["failed"]
    share = outcomes["passed"] / max(1, applied)
    print(f"{outcomes['passed']} of {applied} passed ({share:.1%}), {outcomes['skipped']} skipped")


if __name__ == "__main__":
    main()
