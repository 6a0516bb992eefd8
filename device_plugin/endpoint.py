# SPDX-License-Identifier: Apache-2.0
"""A resource at its socket: first it is served, then the plugin calls it itself, then the kubelet is told of it.

In any other order the kubelet may call before somebody answers, and take the resource for dead.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio

from device_plugin import metrics
from device_plugin.resource import Resource
from device_plugin.wire import deviceplugin_pb2 as wire
from device_plugin.wire.services import VERSION, call, channel
from flexnpu.errors import BackendError, DaemonError, FlexNpuError, InvalidValue, OverQuota, Unavailable

log = logging.getLogger("flexnpu-device-plugin")

ANSWER_WITHIN_S = 5.0
DRAIN_S = 2.0
_Question = TypeVar("_Question")
_CODES: tuple[tuple[type[FlexNpuError], grpc.StatusCode], ...] = (
    (OverQuota, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (InvalidValue, grpc.StatusCode.INVALID_ARGUMENT),
    (DaemonError, grpc.StatusCode.UNAVAILABLE),
    (FlexNpuError, grpc.StatusCode.FAILED_PRECONDITION),
)


class Endpoint:
    """folder: of the kubelet's socket and of ours.

    Each start has a socket of another name: a gRPC server that ends removes the file of its socket, which may be that
    of its successor by then.
    """

    def __init__(self, resource: Resource, folder: Path) -> None:
        self._resource = resource
        self._folder = folder
        self._stem = resource.name.replace("/", "-")
        self._socket: Path | None = None
        self._server: grpc.aio.Server | None = None
        self._over = asyncio.Event()

    def is_there(self) -> bool:
        """Whether the kubelet could find it."""
        return self._socket is not None and self._socket.exists()

    async def start(self) -> None:
        """Served and called; the kubelet does not know yet. BackendError where that cannot be."""
        await self.stop()
        self._sweep()
        place = self._socket = self._folder / f"{self._stem}.{secrets.token_hex(4)}.sock"
        server, self._over = grpc.aio.server(), asyncio.Event()
        server.add_generic_rpc_handlers((_handlers(self._resource, self._over),))
        try:
            server.add_insecure_port(f"unix://{place}")
            await server.start()
            self._server = server
            async with channel(place) as connection:
                await call(
                    connection,
                    "v1beta1.DevicePlugin/GetDevicePluginOptions",
                    wire.Empty(),
                    wire.DevicePluginOptions,
                    ANSWER_WITHIN_S,
                )
        except (RuntimeError, grpc.aio.AioRpcError) as error:
            raise BackendError(
                f"{place} cannot be served ({error})", next_step="see kubelet_dir, and that root runs the plugin"
            ) from error

    async def register(self) -> None:
        """Unavailable where the kubelet does not take it."""
        assert self._socket is not None
        kubelet = self._folder / "kubelet.sock"
        request = wire.RegisterRequest(
            version=VERSION,
            endpoint=self._socket.name,
            resource_name=self._resource.name,
            options=await self._resource.options(),
        )
        try:
            async with channel(kubelet) as connection:
                await call(connection, "v1beta1.Registration/Register", request, wire.Empty, ANSWER_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            metrics.REGISTRATIONS.labels("failed").inc()
            raise Unavailable(
                f"the kubelet at {kubelet} did not take {self._resource.name} ({error.details()})"
            ) from error
        metrics.REGISTRATIONS.labels("done").inc()
        log.info("registered %s", self._resource.name)

    async def stop(self) -> None:
        """Calls that are under way end first."""
        self._over.set()
        self._resource.wake()
        if self._server is not None:
            await self._server.stop(DRAIN_S)
            self._server = None

    def _sweep(self) -> None:
        """Sockets that plugins left who were killed."""
        for path in self._folder.glob(f"{self._stem}.*.sock"):
            with socket.socket(socket.AF_UNIX) as asking:
                try:
                    asking.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink(missing_ok=True)
                except OSError:
                    continue


def _handlers(resource: Resource, over: asyncio.Event) -> grpc.GenericRpcHandler:
    def unary(question: Any, answer: Callable[[Any], Awaitable[Any]]) -> grpc.RpcMethodHandler[Any, Any]:  # noqa: ANN401
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: ANN401
            try:
                return await answer(request)
            except FlexNpuError as error:
                log.warning("%s: %s", resource.name, error)
                await context.abort(next(code for kind, code in _CODES if isinstance(error, kind)), str(error))

        return grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=question.FromString, response_serializer=_serialized
        )

    async def options(_: wire.Empty) -> wire.DevicePluginOptions:
        return await resource.options()

    async def watch(_: wire.Empty, __: Any) -> AsyncIterator[wire.ListAndWatchResponse]:  # noqa: ANN401
        async for answer in resource.watch(over):
            yield answer

    return grpc.method_handlers_generic_handler(
        "v1beta1.DevicePlugin",
        {
            "GetDevicePluginOptions": unary(wire.Empty, options),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                watch, request_deserializer=wire.Empty.FromString, response_serializer=_serialized
            ),
            "GetPreferredAllocation": unary(wire.PreferredAllocationRequest, resource.prefer),
            "Allocate": unary(wire.AllocateRequest, resource.allocate),
            "PreStartContainer": unary(wire.PreStartContainerRequest, resource.pre_start),
        },
    )


def _serialized(message: Any) -> bytes:  # noqa: ANN401 - any of the messages
    serialized: bytes = message.SerializeToString()
    return serialized
