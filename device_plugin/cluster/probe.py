# SPDX-License-Identifier: Apache-2.0
"""python -m device_plugin.cluster.probe SOCKET livez|readyz: whether the daemon answers, for a container's probes. It
imports nothing of the daemon or the API, which would take longer than the answer."""

from __future__ import annotations

import http.client
import socket
import sys

WITHIN_S = 5.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("flexnpud", timeout=WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, what: str) -> str:
    """Why not, in a line; empty where it is so."""
    connection = _Connection(path)
    try:
        connection.request("GET", f"/{what}")
        answer = connection.getresponse()
        return "" if answer.status == 200 else f"{answer.status} {answer.read(512).decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        return f"no daemon answers at {path} ({error})"
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(ask(*sys.argv[1:]) or 0)
