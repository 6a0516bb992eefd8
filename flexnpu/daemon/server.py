# SPDX-License-Identifier: Apache-2.0
"""The daemon's life: claim the directory, open everything, serve until a signal, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI

from flexnpu import _native, backend
from flexnpu.api.access import REQUESTS_PER_S, Access
from flexnpu.api.app import create_app
from flexnpu.api.metrics.naming import Naming
from flexnpu.api.tokens import TokenFile
from flexnpu.backend import Device, SoftwareOptions
from flexnpu.daemon.attach import AttachServer
from flexnpu.daemon.connections import TcpConnection, TrustedConnection, UnixConnection
from flexnpu.daemon.doors import VNpuDoors
from flexnpu.daemon.host import capacity
from flexnpu.daemon.listen import Listen, shown
from flexnpu.daemon.node import Node
from flexnpu.daemon.notify import READY, STOPPING, notify
from flexnpu.daemon.restart import Survivor, survivors
from flexnpu.daemon.rundir import ClaimedDir
from flexnpu.errors import InvalidValue
from flexnpu.paths import RuntimeDir
from flexnpu.tenancy import Registry
from flexnpu.units import format_size

log = logging.getLogger("flexnpud")

DRAIN_S = 2


@dataclass(frozen=True, slots=True)
class Admin:
    """How the admin API is offered. group: whose members may use the admin socket too; listen: over TCP as well;
    metrics: how they are named."""

    group: int | None = None
    listen: Listen | None = None
    requests_per_s: float = REQUESTS_PER_S
    metrics: Naming = field(default_factory=Naming)


class _Rest(uvicorn.Server):
    """uvicorn without signal handlers of its own: the daemon has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(paths: RuntimeDir, options: SoftwareOptions, admin: Admin, *, by_phase: bool = False) -> None:
    """Until SIGTERM or SIGINT. by_phase: the arbiters let decode go before prefill."""
    uvloop.run(_serve(paths, options, admin, by_phase=by_phase))


async def _serve(paths: RuntimeDir, options: SoftwareOptions, admin: Admin, *, by_phase: bool) -> None:
    _raise_descriptors()
    tokens = TokenFile(admin.listen.tokens) if admin.listen and admin.listen.tokens else None
    devices = backend.discover(options, paths.softnpu)
    claimed = ClaimedDir(paths, group=admin.group)
    left: list[Survivor] | None = None
    try:
        registry = Registry(paths.registry, [capacity(device) for device in devices])
        try:
            node = Node(devices, registry, by_phase=by_phase)
            await _serve_node(claimed, devices, node, admin, tokens)
            left = survivors(registry, devices)
        finally:
            registry.close()
    finally:
        # What is still in use, or cannot be judged, is left to the next daemon.
        keep_state = left is None or any(survivor.leases for survivor in left)
        claimed.release(keep_registry=left is None or bool(left), keep_state=keep_state)


async def _serve_node(
    claimed: ClaimedDir, devices: list[Device], node: Node, admin: Admin, tokens: TokenFile | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, tokens)
    # Processes of an earlier daemon's time still share that state; without them it is started afresh.
    if not node.restore() or not claimed.paths.softnpu.is_dir():
        claimed.fresh_softnpu()
    attach = AttachServer(claimed.listen(claimed.paths.attach_socket, socket.SOCK_SEQPACKET), node)
    node.use(VNpuDoors(attach, taken=claimed.paths.root))
    app = create_app(node, _native.PAGE_VERSION, Access(tokens, admin.group, admin.requests_per_s), admin.metrics)
    rests = [_admin_socket(app, claimed)]
    if admin.listen is not None:
        rests.append(_tcp(app, admin.listen))
    attaching = asyncio.create_task(attach.run())
    serving = [asyncio.create_task(rest.serve(sockets=[listener])) for rest, listener in rests]
    stopping = asyncio.create_task(stop.wait())
    for device in devices:
        size = format_size(device.memory_bytes)
        log.info("device %d: %s (%s), %d cores, %s", device.index, device.soc, device.kind, device.cores, size)
    # Modules, models and routes stay: to look through them for garbage would hold up requests for a tenth of a second.
    gc.collect()
    gc.freeze()
    log.info("ready in %s", claimed.paths.root)
    notify(READY)
    await asyncio.wait((stopping, *serving, attaching), return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    notify(STOPPING)
    node.log.close()  # who follows the events would keep the server waiting
    for rest, _ in rests:
        rest.should_exit = True
    attaching.cancel()
    stopping.cancel()
    ends = await asyncio.gather(*serving, attaching, stopping, return_exceptions=True)
    node.close()
    for end in ends:
        if isinstance(end, Exception):  # not a cancellation: one of them failed, and that is why we are here
            raise end


def _raise_descriptors() -> None:
    """A tenant takes two descriptors, and the usual soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # an unlimited hard limit may be more than the kernel takes
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _reload(tokens: TokenFile | None) -> None:
    if tokens is None:
        return
    try:
        log.info("tokens are read again: %d", tokens.reload())
    except InvalidValue as error:
        log.warning("the tokens stay as they were: %s", error)


def _admin_socket(app: FastAPI, claimed: ClaimedDir) -> tuple[_Rest, socket.socket]:
    listener = claimed.listen(claimed.paths.admin_socket, socket.SOCK_STREAM, for_group=True)
    return _Rest(_config(app, http=UnixConnection)), listener


def _tcp(app: FastAPI, listen: Listen) -> tuple[_Rest, socket.socket]:
    protocol = TcpConnection if listen.knows_callers else TrustedConnection
    rest = _Rest(_config(app, http=protocol, **listen.tls()))
    listener = listen.open()
    log.info("listening on %s", shown(listener, tls=listen.is_tls))
    if not listen.knows_callers:
        log.warning("anybody who reaches that can change everything, as --insecure-listen says")
    return rest, listener


def _config(app: FastAPI, **options: Any) -> uvicorn.Config:  # noqa: ANN401 - of uvicorn
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nobody tells us that somebody else asks
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        ws="none",
        **options,
    )
