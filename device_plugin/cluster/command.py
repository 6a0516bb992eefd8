# SPDX-License-Identifier: Apache-2.0
"""flexnpu-node-agent: the command."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from device_plugin.cluster.agent import Agent, Options
from device_plugin.cluster.api_server import ApiServer, Where
from device_plugin.cluster.services import Serving
from device_plugin.cluster.taint import EFFECTS
from flexnpu import __version__
from flexnpu.client import Client
from flexnpu.errors import FlexNpuError, InvalidValue

MODES = ("split", "co-located", "observe")  # of flexnpu controller, those that need nothing but the engines' steps


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"flexnpu-node-agent: error: {message}; see flexnpu-node-agent --help\n")


def main() -> None:
    """The entry point."""
    given = parser().parse_args()
    logging.basicConfig(format="flexnpu-node-agent: %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        _run(given)
    except FlexNpuError as error:
        print(f"flexnpu-node-agent: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _run(given: argparse.Namespace) -> None:
    node = given.node or os.environ.get("NODE_NAME")
    if not node:
        raise InvalidValue("the node's name is not known", next_step="give --node, or set NODE_NAME from spec.nodeName")
    if not 0 <= given.publish_every <= 3600:
        raise InvalidValue(
            f"--publish-every {given.publish_every:g} is out of range", next_step="give 0 to 3600 seconds"
        )
    api = ApiServer(_where(given))
    serving = Serving(given.services, given.mode, given.models) if given.services else None
    taint = None if given.taint == "off" else given.taint
    options = Options(node, given.publish_every, taint, given.grow, serving)
    agent = Agent(api, lambda: Client(given.runtime_dir, reason="annotations of a pod"), options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()
    api.close()


def _where(given: argparse.Namespace) -> Where:
    if given.api_server is None:
        return Where.in_cluster(os.environ)
    return Where(given.api_server, given.token_file, given.ca_file)


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    made = _Parser(
        prog="flexnpu-node-agent",
        description="Carries out the annotations of this node's pods on their vNPUs, and publishes its NodeNPU.",
    )
    made.add_argument("--node", help="this node's name in Kubernetes (default: $NODE_NAME)")
    made.add_argument("--runtime-dir", help="of the daemon (default: $FLEXNPU_RUNTIME_DIR, or /run/flexnpu)")
    made.add_argument(
        "--taint",
        choices=("off", *EFFECTS),
        default="off",
        help="of a node that has lost a device (default: %(default)s)",
    )
    made.add_argument(
        "--grow",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether annotations may bring a container to more cores than its resources",
    )
    made.add_argument(
        "--publish-every",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="the least time between two writes of the NodeNPU (default: %(default)g)",
    )
    made.add_argument("--services", type=Path, metavar="FILE", help="written for flexnpu-node-controller")
    made.add_argument("--mode", choices=MODES, default="split", help="of the controller (default: %(default)s)")
    made.add_argument("--models", type=Path, metavar="DIR", help="shapes of models, NAME.json, beside those that ship")
    made.add_argument("--api-server", metavar="URL", help="outside of a pod (default: as the pod is told)")
    made.add_argument("--token-file", type=Path, help="of --api-server")
    made.add_argument("--ca-file", type=Path, help="of --api-server, PEM")
    made.add_argument("--version", action="version", version=f"flexnpu-node-agent {__version__}")
    return made


if __name__ == "__main__":
    main()
