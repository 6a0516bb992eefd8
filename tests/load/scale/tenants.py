# SPDX-License-Identifier: Apache-2.0
"""Processes that are tenants and sleep: `python -m scale.tenants SOCKET VNPU...` forks one for each, says `attached`
once all are, and ends them with its own input. Each acknowledges grants within 0.1 s and returns to the next daemon."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
from fake_tenant import FakeTenant, again, is_gone

_LOOK_EVERY_S = 0.1


def _live(path: str, vnpu: str, attached: int) -> None:
    tenant = FakeTenant.attach(path, vnpu)
    os.write(attached, b".")
    told = None
    while True:
        if tenant.quota != told:
            told = tenant.quota
            tenant.acknowledge()
        time.sleep(_LOOK_EVERY_S)
        if is_gone(tenant.connection):
            tenant, told = again(tenant, path), None


def main(path: str, vnpus: list[str]) -> None:
    read, write = os.pipe()
    children = []
    for vnpu in vnpus:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                _live(path, vnpu, write)
            finally:
                os._exit(1)
        children.append(child)
    attached = 0
    while attached < len(vnpus):
        attached += len(os.read(read, 4096))
    print("attached", flush=True)
    sys.stdin.read()
    for child in children:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
