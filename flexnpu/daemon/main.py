# SPDX-License-Identifier: Apache-2.0
"""flexnpud: the command."""

from __future__ import annotations

import argparse
import asyncio
import logging
import select
import sys
from typing import NoReturn, TextIO

from flexnpu import __version__
from flexnpu.backend import SoftwareOptions
from flexnpu.errors import FlexNpuError
from flexnpu.paths import RuntimeDir


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"flexnpud: error: {message}; see flexnpud --help\n")


class _Lines(logging.StreamHandler[TextIO]):
    """To a stream that may be a pipe which nobody empties: then lines are lost, and the daemon serves on."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._room = select.poll()
        self._room.register(stream, select.POLLOUT)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        if not self._room.poll(0):  # a pipe with room has room for a line
            self._lost += 1
            return
        if self._lost:
            self.stream.write(f"flexnpud: {self._lost} lines of this log are lost\n")
            self._lost = 0
        super().emit(record)


def main() -> None:
    """The entry point."""
    given = parser().parse_args()
    logging.basicConfig(format="flexnpud: %(message)s", level=logging.INFO, handlers=[_Lines(sys.stderr)])
    # A line for each tenant that comes and goes must be cheap: nobody asks the log for these.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        options = SoftwareOptions(given.soc, given.devices, given.clock, given.math, given.scale)
        paths = RuntimeDir.find(given.runtime_dir)
        from flexnpu.daemon.server import serve  # noqa: PLC0415 - a bad option is answered before the slow imports

        asyncio.run(serve(paths, options, by_phase=given.dispatch == "phase"))
    except FlexNpuError as error:
        sys.exit(_fail(error))


def _fail(error: FlexNpuError) -> int:
    print(f"flexnpud: error: {error}", file=sys.stderr)
    return error.exit_code


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    made = _Parser(
        prog="flexnpud",
        description="The FlexNPU daemon. Without an Ascend NPU it offers software NPUs as the options describe them.",
    )
    defaults = SoftwareOptions()
    made.add_argument("--soc", default=defaults.soc, help="SoC of the software NPU (default: %(default)s)")
    made.add_argument("--devices", type=int, default=defaults.devices, help="number of software NPUs, 1 to 16")
    made.add_argument("--clock", default=defaults.clock, help="free, or paced: operators take the time of the SoC")
    made.add_argument("--math", default=defaults.math, help="exact, or skip: results are undefined")
    made.add_argument("--scale", type=float, default=defaults.scale, help="wall seconds per device second")
    made.add_argument(
        "--dispatch",
        choices=("fair", "phase"),
        default="fair",
        help="fair: turns by share; phase: decode goes before prefill, and their shares follow what each waits for",
    )
    made.add_argument("--runtime-dir", help="sockets, registry and state (default: $FLEXNPU_RUNTIME_DIR)")
    made.add_argument("--version", action="version", version=f"flexnpud {__version__}")
    return made


if __name__ == "__main__":
    main()
