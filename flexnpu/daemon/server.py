# SPDX-License-Identifier: Apache-2.0
"""The daemon's life: claim the directory, open everything, serve until a signal, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Iterator

import uvicorn

from flexnpu import _native, backend
from flexnpu.api.app import create_app
from flexnpu.backend import Device, SoftwareOptions
from flexnpu.daemon.attach import AttachServer
from flexnpu.daemon.host import capacity
from flexnpu.daemon.node import Node
from flexnpu.daemon.restart import Survivor, survivors
from flexnpu.daemon.rundir import ClaimedDir
from flexnpu.paths import RuntimeDir
from flexnpu.tenancy import Registry
from flexnpu.units import format_size

log = logging.getLogger("flexnpud")

DRAIN_S = 2


class _Rest(uvicorn.Server):
    """uvicorn without signal handlers of its own: the daemon has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(paths: RuntimeDir, options: SoftwareOptions, *, by_phase: bool = False) -> None:
    """Until SIGTERM or SIGINT. by_phase: the arbiters let decode go before prefill."""
    _raise_descriptors()
    devices = backend.discover(options, paths.softnpu)
    claimed = ClaimedDir(paths)
    left: list[Survivor] | None = None
    try:
        registry = Registry(paths.registry, [capacity(device) for device in devices])
        try:
            await _serve_node(claimed, devices, registry, by_phase=by_phase)
            left = survivors(registry, devices)
        finally:
            registry.close()
    finally:
        # What is still in use, or cannot be judged, is left to the next daemon.
        keep_state = left is None or any(survivor.leases for survivor in left)
        claimed.release(keep_registry=left is None or bool(left), keep_state=keep_state)


async def _serve_node(claimed: ClaimedDir, devices: list[Device], registry: Registry, *, by_phase: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    node = Node(devices, registry, by_phase=by_phase)
    # Processes of an earlier daemon's time still share that state; without them it is started afresh.
    if not node.restore() or not claimed.paths.softnpu.is_dir():
        claimed.fresh_softnpu()
    attach = AttachServer(claimed.listen(claimed.paths.attach_socket, socket.SOCK_SEQPACKET), node)
    rest = _rest(node)
    attaching = asyncio.create_task(attach.run())
    admin = claimed.listen(claimed.paths.admin_socket, socket.SOCK_STREAM)
    serving = asyncio.create_task(rest.serve(sockets=[admin]))
    stopping = asyncio.create_task(stop.wait())
    for device in devices:
        size = format_size(device.memory_bytes)
        log.info("device %d: %s (%s), %d cores, %s", device.index, device.soc, device.kind, device.cores, size)
    log.info("ready in %s", claimed.paths.root)
    await asyncio.wait((stopping, serving, attaching), return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    node.log.close()  # who follows the events would keep the server waiting
    rest.should_exit = True
    attaching.cancel()
    stopping.cancel()
    ends = await asyncio.gather(serving, attaching, stopping, return_exceptions=True)
    node.close()
    for end in ends:
        if isinstance(end, Exception):  # not a cancellation: one of them failed, and that is why we are here
            raise end


def _raise_descriptors() -> None:
    """A tenant takes two descriptors, and the usual soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # an unlimited hard limit may be more than the kernel takes
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _rest(node: Node) -> _Rest:
    app = create_app(node, _native.PAGE_VERSION)
    return _Rest(
        uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=DRAIN_S, ws="none"
        )
    )
