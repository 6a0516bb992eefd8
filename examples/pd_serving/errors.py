# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, and how a client is told."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

_TYPES = {
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "service_unavailable_error",
}


class ConfigError(ValueError):
    """A command line or a model that this engine cannot serve."""


class RequestError(ValueError):
    """A request that is not served. param: the field of its body that is the reason, if it is one."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        *,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code

    def body(self) -> dict[str, Any]:
        """As OpenAI's API says it."""
        kind = _TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}
