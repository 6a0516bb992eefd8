# SPDX-License-Identifier: Apache-2.0
"""The plugin between a fake kubelet and a fake daemon, all in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_kubelet import FakeKubelet
from fake_node_daemon import FakeNodeDaemon

from device_plugin.config import Config
from device_plugin.daemon import Daemon
from device_plugin.plugin import Plugin, names


@dataclass
class World:
    """folder: of everything. config: what the plugin is told."""

    folder: Path
    kubelet: FakeKubelet
    node: FakeNodeDaemon
    config: Config

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[Plugin]:
        """The kubelet and the plugin."""
        async with self.kubelet, self.plugin() as plugin:
            yield plugin

    @contextlib.asynccontextmanager
    async def plugin(self, *, ready: bool = True) -> AsyncIterator[Plugin]:
        """It runs; ready: and is registered."""
        stop = asyncio.Event()
        plugin = Plugin(self.config, stop, Daemon(self.node.connect))  # type: ignore[arg-type]
        running = asyncio.create_task(plugin.run())
        try:
            if ready:
                await self.kubelet.ready(*names(self.config))
            yield plugin
        finally:
            stop.set()
            await running

    @property
    def resources(self) -> list[str]:
        return [*names(self.config)]


@pytest.fixture
def short() -> Iterator[Path]:
    """Sockets have short names, so it is not pytest's folder."""
    folder = Path(tempfile.mkdtemp(prefix="fx-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def libraries(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = short / "lib"
    (place / "softnpu").mkdir(parents=True)
    (place / "libflexnpu.so").write_bytes(b"\x7fELF")
    (place / "softnpu" / "libascendcl.so").write_bytes(b"\x7fELF")
    monkeypatch.setenv("FLEXNPU_LIB_DIR", str(place))
    return place


@pytest.fixture
def world(short: Path, libraries: Path) -> Callable[..., World]:
    """Makes one: podresources and seed of the kubelet, the daemon, and the rest for the plugin."""

    def make(podresources: str | None = "v1", seed: int = 1, node: FakeNodeDaemon | None = None, **keys) -> World:
        config = Config(kubelet_dir=short / "kubelet", pods_dir=short / "pods", cdi=keys.pop("cdi", "off"), **keys)
        kubelet = FakeKubelet(config.kubelet_dir, podresources=podresources, seed=seed)
        return World(short, kubelet, node or FakeNodeDaemon(), config)

    return make


def run(test: Coroutine[None, None, None]) -> None:
    """A test that is a coroutine."""
    asyncio.run(asyncio.wait_for(test, 200))


@pytest.fixture
def during() -> Callable[[Coroutine[None, None, None]], None]:
    return run
