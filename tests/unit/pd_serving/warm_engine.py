# SPDX-License-Identifier: Apache-2.0
"""Instances as processes that begin with the imports done: forked from one that has done them."""

import multiprocessing
import os
import runpy
import sys
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parents[3] / "examples" / "pd_serving" / "engine.py"
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["warm_imports"])


def _warm_up() -> None:
    """The server finds its imports by this variable alone, and says nothing where it does not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        forkserver.ensure_running()


def _run(arguments: list[str], out: Connection, log: str) -> None:
    os.dup2(out.fileno(), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    sys.argv = [str(ENGINE), *arguments]
    runpy.run_path(str(ENGINE), run_name="__main__")


class WarmEngine:
    """As a subprocess.Popen whose standard output is a pipe."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        _warm_up()
        mine, theirs = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_run, args=(arguments, theirs, str(log)))
        self._process.start()
        theirs.close()
        self._pipe, self.stdout = mine, open(mine.fileno(), closefd=False)  # noqa: SIM115 - a descriptor

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"the instance has not ended within {timeout} s"
        return code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
