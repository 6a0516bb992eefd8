# SPDX-License-Identifier: Apache-2.0
"""The services of the .proto files here: how each is called, and how the plugin's is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf.message import Message

from device_plugin.wire import deviceplugin_pb2 as device

VERSION = "v1beta1"
# What a Go server is told of who is called; of a socket's path it would make a name that newer ones refuse.
_CHANNEL_OPTIONS = (("grpc.default_authority", "localhost"),)


class DevicePlugin(Protocol):
    """One resource, as the kubelet sees it. Each raises FlexNpuError to refuse."""

    async def options(self) -> device.DevicePluginOptions: ...
    def watch(self) -> AsyncIterator[device.ListAndWatchResponse]: ...
    async def prefer(self, request: device.PreferredAllocationRequest) -> device.PreferredAllocationResponse: ...
    async def allocate(self, request: device.AllocateRequest) -> device.AllocateResponse: ...
    async def pre_start(self, request: device.PreStartContainerRequest) -> device.PreStartContainerResponse: ...


def channel(socket: Path) -> grpc.aio.Channel:
    """To whoever listens on that socket."""
    return grpc.aio.insecure_channel(f"unix://{socket}", options=_CHANNEL_OPTIONS)


async def call(
    channel: grpc.aio.Channel, method: str, request: Message, answer: type[Message], within_s: float
) -> Any:  # noqa: ANN401 - an `answer`
    """One call of "package.Service/Method"; grpc.aio.AioRpcError where it fails."""
    ask = channel.unary_unary(
        f"/{method}", request_serializer=lambda message: message.SerializeToString(), response_deserializer=answer.FromString
    )
    return await ask(request, timeout=within_s)
