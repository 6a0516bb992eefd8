# SPDX-License-Identifier: Apache-2.0
"""flexnpu-device-plugin: the command."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

from device_plugin.config import Config, read_config
from flexnpu import __version__
from flexnpu.errors import FlexNpuError, InvalidValue

log = logging.getLogger("flexnpu-device-plugin")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"flexnpu-device-plugin: error: {message}; see flexnpu-device-plugin --help\n")


def main() -> None:
    """The entry point."""
    given = parser().parse_args()
    logging.basicConfig(format="flexnpu-device-plugin: %(message)s", level=logging.INFO, stream=sys.stderr)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        config = read_config(given.config, os.environ)
        try:
            from device_plugin import metrics  # noqa: PLC0415 - a bad configuration is answered before slow imports
            from device_plugin.plugin import Plugin  # noqa: PLC0415, F401
        except ImportError as error:
            raise InvalidValue(
                f"{error.name} is not installed", next_step="pip install 'flexnpu[kubernetes]'"
            ) from error
        if config.metrics is not None:
            metrics.serve(config.metrics)
        asyncio.run(serve(config, given.config))
    except FlexNpuError as error:
        print(f"flexnpu-device-plugin: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


async def serve(config: Config, file: Path | None) -> None:
    """Until SIGTERM or SIGINT; SIGHUP reads the configuration again."""
    from device_plugin.daemon import Daemon  # noqa: PLC0415 - as above
    from device_plugin.plugin import Plugin  # noqa: PLC0415
    from flexnpu.client import Client  # noqa: PLC0415

    loop, ended, anew = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def end() -> None:
        ended.set()
        anew.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, anew.set)
    while not ended.is_set():
        anew.clear()
        daemon = Daemon(partial(Client, config.runtime_dir, reason="flexnpu-device-plugin"))
        await Plugin(config, anew, daemon).run()
        if anew.is_set() and not ended.is_set():
            config = _again(config, file)


def _again(config: Config, file: Path | None) -> Config:
    try:
        found = read_config(file, os.environ)
    except InvalidValue as error:
        log.warning("the configuration stays as it was: %s", error)
        return config
    log.info("the configuration is read again")
    return found


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    made = _Parser(
        prog="flexnpu-device-plugin", description="A node's NPUs in Kubernetes, each shared by several pods."
    )
    made.add_argument(
        "--config", type=Path, help="YAML; each key is also a variable FLEXNPU_PLUGIN_KEY, which goes first"
    )
    made.add_argument("--version", action="version", version=f"flexnpu-device-plugin {__version__}")
    return made


if __name__ == "__main__":
    main()
