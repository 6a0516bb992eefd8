# SPDX-License-Identifier: Apache-2.0
"""Errors as application/problem+json (RFC 9457), as answers and in the description."""

from __future__ import annotations

import logging
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import Scope

from flexnpu.api.models import Problem
from flexnpu.errors import DaemonFault, FlexNpuError, InvalidValue, Malformed

log = logging.getLogger("flexnpud")

MEDIA_TYPE: Final = "application/problem+json"
REQUEST_ID: Final = "X-Request-Id"
_SEE: Final = "see docs/api.md, or GET /openapi.json"
# What a later try may get past, and after how many seconds.
_RETRY_AFTER: Final = {429: "1", 503: "1"}
MEANINGS: Final = {
    400: "The request is not what its form demands.",
    401: "Nobody knows who asks.",
    403: "Who asks may not do that.",
    404: "It does not exist.",
    405: "That cannot be done with it.",
    408: "The request took too long to come.",
    409: "Not possible as things stand.",
    412: "If-Match names another revision than the newest.",
    413: "The request has too many bytes.",
    422: "A value is out of range, or more than there is.",
    428: "If-Match is missing.",
    429: "Too many requests; Retry-After says when there may be more.",
    431: "The headers have too many bytes.",
    500: "The daemon failed; its log says more.",
    503: "Not now; Retry-After says when to try again.",
}


def of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Of a route, which problems it answers, beside those that every route does."""
    return {status: {"model": Problem, "description": MEANINGS[status]} for status in statuses}


def install(app: FastAPI) -> None:
    """Every error that leaves the app has this form."""

    @app.exception_handler(FlexNpuError)
    async def known(request: Request, error: FlexNpuError) -> JSONResponse:
        return respond(error, request.scope)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()[0]
        if found["type"] == "json_invalid":
            why = found.get("ctx", {}).get("error", found["msg"])
            return respond(Malformed(f"the body is no JSON ({why})", next_step=_SEE), request.scope)
        where = ".".join(str(part) for part in found["loc"] if part not in ("body", "query", "path"))
        value = f" {found['input']!r}"[:80] if isinstance(found.get("input"), str | int | float) else ""
        told = " ".join(found["msg"].split())
        return respond(InvalidValue(f"{where or 'request'}{value}: {told}", next_step=_SEE), request.scope)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = _allowed(app, request.url.path)
        return http_problem(error.status_code, str(error.detail), request.scope, headers)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return respond(DaemonFault("the daemon failed at this request", next_step="see its log"), request.scope)


def respond(error: FlexNpuError, scope: Scope) -> JSONResponse:
    """The answer to an error of the tree."""
    problem = Problem(
        type=f"urn:flexnpu:problem:{error.code}",
        title=error.code.replace("_", " "),
        status=error.status,
        detail=" ".join(error.message.split()),
        instance=_instance(scope),
        code=error.code,
        limit=error.limit,
        used=error.used,
        requested=error.requested,
        next_step=error.next_step,
    )
    headers = {"WWW-Authenticate": 'Bearer realm="flexnpu"'} if error.status == 401 else {}
    return _json(problem, scope, headers)


def http_problem(status: int, why: str, scope: Scope, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error of HTTP itself, such as a path that leads nowhere."""
    problem = Problem(
        type="about:blank",
        title=why,
        status=status,
        detail=f"{scope['method']} {scope['path'][:200]!r}: {MEANINGS.get(status, why)}",
        instance=_instance(scope),
        code="http_error",
        next_step=_SEE,
    )
    return _json(problem, scope, headers or {})


def request_id(scope: Scope) -> str:
    """Of this request; empty where none was made yet."""
    return str(scope.get("state", {}).get("request_id", ""))


def _allowed(app: FastAPI, path: str) -> str:
    """All methods of a path; the router names those of the first route alone."""
    described = app.openapi()["paths"]
    names = [path] if path in described else [each for each in described if compile_path(each)[0].fullmatch(path)]
    return ", ".join(sorted({method.upper() for name in names for method in described[name]})) or "GET"


def _instance(scope: Scope) -> str | None:
    known = request_id(scope)
    return f"urn:flexnpu:request:{known}" if known else None


def _json(problem: Problem, scope: Scope, headers: dict[str, str]) -> JSONResponse:
    if known := request_id(scope):
        headers[REQUEST_ID] = known
    if problem.status in _RETRY_AFTER:
        headers["Retry-After"] = _RETRY_AFTER[problem.status]
    content = problem.model_dump(exclude_none=True)
    return JSONResponse(content, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)
