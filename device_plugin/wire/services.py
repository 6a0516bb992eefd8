# SPDX-License-Identifier: Apache-2.0
"""How a service of the .proto files here is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.message import Message

VERSION = "v1beta1"
# What a Go server is told of who is called; of a socket's path it would make a name that newer ones refuse.
_CHANNEL_OPTIONS = (("grpc.default_authority", "localhost"),)


def channel(socket: Path) -> grpc.aio.Channel:
    """To whoever listens on that socket."""
    return grpc.aio.insecure_channel(f"unix://{socket}", options=_CHANNEL_OPTIONS)


async def call(channel: grpc.aio.Channel, method: str, request: Message, answer: type[Message], within_s: float) -> Any:  # noqa: ANN401 - an `answer`
    """One call of "package.Service/Method"; grpc.aio.AioRpcError where it fails."""
    ask = channel.unary_unary(f"/{method}", request_serializer=_serialized, response_deserializer=answer.FromString)
    return await ask(request, timeout=within_s)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
