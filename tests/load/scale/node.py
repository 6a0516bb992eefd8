# SPDX-License-Identifier: Apache-2.0
"""A daemon with 16 devices, 1,000 vNPUs and 200 tenants, in a directory of its own."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from flexnpu.client import Client
from flexnpu.errors import DaemonError

GIB = 2**30
DEVICES, VNPUS, TENANTS = 16, 1000, 200
_START_WITHIN_S = 60.0
_HERE = Path(__file__).parents[1]


class Node:
    def __init__(self, vnpus: int = VNPUS, tenants: int = TENANTS) -> None:
        self.parent = Path(tempfile.mkdtemp(prefix="fx-scale-"))
        self.root = self.parent / "run"
        self.owned = [f"own{number}" for number in range(tenants)]
        self.shared = [f"shared{number}" for number in range(vnpus - tenants)]
        self._daemon: subprocess.Popen[bytes] | None = None
        self._tenants: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # inherited by the daemon
        self.start()
        with Client(self.root) as client:
            for number, name in enumerate(self.owned):
                client.create_vnpu(name, cores=1, memory_bytes=GIB, device=number % DEVICES)
            for number, name in enumerate(self.shared):
                quota = {"cores": 8, "memory_bytes": GIB, "share_percent": 1.0}
                client.create_vnpu(name, device=number % DEVICES, **quota)
        command = [sys.executable, "-m", "scale.tenants", str(self.root / "attach.sock"), *self.owned]
        pipe = subprocess.PIPE
        self._tenants = subprocess.Popen(command, cwd=_HERE, stdin=pipe, stdout=pipe, text=True)
        assert self._tenants.stdout is not None
        assert self._tenants.stdout.readline() == "attached\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._tenants is not None:
            self._tenants.communicate("", timeout=30)
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(30)
        shutil.rmtree(self.parent)

    def start(self) -> None:
        command = [sys.executable, "-m", "flexnpu.daemon.main", "--runtime-dir", str(self.root)]
        command += ["--soc", "Ascend910B2", "--devices", str(DEVICES)]
        log = (self.parent / "flexnpud.log").open("ab")
        self._daemon = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + _START_WITHIN_S
        while not self._answers():
            assert self._daemon.poll() is None and time.monotonic() < end, (self.parent / "flexnpud.log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait(30)

    @property
    def admin_socket(self) -> str:
        with Client(self.root) as client:
            return str(client.paths.admin_socket)

    @property
    def resident_bytes(self) -> int:
        """Of the daemon."""
        assert self._daemon is not None
        pages = Path(f"/proc/{self._daemon.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * resource.getpagesize()

    @property
    def processor_seconds(self) -> float:
        """That the daemon has used."""
        assert self._daemon is not None
        fields = Path(f"/proc/{self._daemon.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def _answers(self) -> bool:
        try:
            with Client(self.root) as client:
                return bool(client.version())
        except DaemonError:
            return False
