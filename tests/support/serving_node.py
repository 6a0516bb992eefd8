# SPDX-License-Identifier: Apache-2.0
"""A daemon that listens on loopback, a service whose two engines say that they serve, a controller that moves their
cores, and on a second device vNPUs that nobody moves."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from fake_tenant import FakeTenant
from local_node import GIB, Node, listening

from flexnpu.controller import Endpoint, Service, Settings
from flexnpu.controller.command import Controller
from flexnpu.controller.config import Options
from flexnpu.llm import ModelShape
from flexnpu.llm.presets import find_config
from flexnpu.planner import Targets

PREFILL, DECODE = 1, 2
TICK_S = 0.02
STEP_EVERY, PROMPT_EVERY = 2, 100  # ticks


class ServingNode:
    """Use as a context manager. Its engines are fakes that acknowledge what they are granted and begin steps."""

    def __init__(self, node: Node, journal: Path) -> None:
        self.node = node
        self._journal = journal
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self.url = listening(self.node, "--listen", "127.0.0.1:0", "--insecure-listen", "--devices", "2")
        self.client = self.node.client()
        for name in ("prefill", "decode"):
            self.client.create_vnpu(name, cores=12, memory_bytes=GIB, phase=name)
        self.client.create_vnpu("embed", cores=8, memory_bytes=GIB, device=1)
        self.client.create_vnpu("batch", cores=6, memory_bytes=GIB, device=1)
        self.tenants = {
            name: FakeTenant.attach(self.node.attach_socket, name) for name in ("prefill", "decode", "embed")
        }
        model = ModelShape.from_config(find_config("Qwen2.5-7B")[1])
        chat = Service("chat", model, Targets(1.0, 0.05), (Endpoint("prefill"),), (Endpoint("decode"),))
        self._controller = Controller(Options((chat,), Settings(), self._journal, self.node.root))
        self._thread.start()
        self._controller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._controller.stop()
        self._ending.set()
        self._thread.join()
        for tenant in self.tenants.values():
            tenant.close()

    def _serve(self) -> None:
        """Decode steps, and now and then a prompt beside them."""
        tick, context = 0, 16_000
        while not self._ending.wait(TICK_S):
            tick += 1
            for tenant in self.tenants.values():
                tenant.acknowledge()
            if tick % STEP_EVERY == 0:
                context += 8
                self.tenants["decode"].begin_step(DECODE, requests=8, tokens=8, context=context)
            if tick % PROMPT_EVERY == 0:
                self.tenants["prefill"].begin_step(PREFILL, requests=1, tokens=6000, context=6000)
