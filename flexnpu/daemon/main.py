# SPDX-License-Identifier: Apache-2.0
"""flexnpud: the command."""

from __future__ import annotations

import argparse
import grp
import logging
import os
import select
import sys
from pathlib import Path
from typing import NoReturn, TextIO

from flexnpu import __version__
from flexnpu.api.metrics.naming import ALIASES, Naming
from flexnpu.backend import SoftwareOptions
from flexnpu.daemon.listen import Listen
from flexnpu.errors import FlexNpuError, InvalidValue
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
        listen = _listen(given)
        group = None if given.admin_group is None else _group(given.admin_group)
        naming = Naming.parse(given.node_name, given.metric_aliases)
        from flexnpu.daemon.server import Admin, run  # noqa: PLC0415 - a bad option is answered before slow imports

        os.umask(0o077)  # a group that may come through the runtime directory reads none of its files
        admin = Admin(group, listen, given.rate_limit, naming)
        run(paths, options, admin, by_phase=given.dispatch == "phase")
    except FlexNpuError as error:
        sys.exit(_fail(error))


def _listen(given: argparse.Namespace) -> Listen | None:
    if not 1 <= given.rate_limit <= 1e6:
        raise InvalidValue(f"--rate-limit {given.rate_limit:g} is out of range", next_step="give 1 to 1000000")
    names = ("tls_cert", "tls_key", "client_ca", "tokens")
    files = {name: getattr(given, name) for name in names}
    if given.listen is not None:
        return Listen.parse(given.listen, **files, insecure=given.insecure_listen)
    for name, value in files.items():
        if value is not None:
            raise InvalidValue(
                f"--{name.replace('_', '-')} is for --listen", next_step="give --listen HOST:PORT as well"
            )
    return None


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise InvalidValue(f"--admin-group {name!r} is not a group", next_step="see getent group") from error


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
    made.add_argument("--admin-group", help="members may use the admin socket, beside the daemon's user and root")
    made.add_argument("--listen", metavar="HOST:PORT", help="offer the admin API over TCP too, with TLS and tokens")
    made.add_argument("--tls-cert", type=Path, help="certificate of --listen, with those between it and the CA, PEM")
    made.add_argument("--tls-key", type=Path, help="its private key, PEM")
    made.add_argument("--tokens", type=Path, help="hashes of bearer tokens, as flexnpu token makes them; SIGHUP: again")
    made.add_argument("--client-ca", type=Path, help="CA of client certificates, whose holders may do everything, PEM")
    made.add_argument(
        "--insecure-listen",
        action="store_true",
        help="without TLS, or without tokens and client certificates: who reaches --listen can change everything",
    )
    made.add_argument(
        "--rate-limit", type=float, default=1000.0, help="requests a second of one caller (default: %(default)g)"
    )
    made.add_argument("--node-name", help="label `node` of the metrics (default: the host's name)")
    made.add_argument(
        "--metric-aliases",
        metavar="LIST",
        default="",
        help=f"metrics under the names of other exporters too: {', '.join(ALIASES)}, commas between",
    )
    made.add_argument("--version", action="version", version=f"flexnpud {__version__}")
    return made


if __name__ == "__main__":
    main()
