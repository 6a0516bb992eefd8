# SPDX-License-Identifier: Apache-2.0
"""Errors as application/problem+json (RFC 9457)."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from flexnpu.api.models import Problem
from flexnpu.errors import DaemonFault, FlexNpuError, InvalidValue

log = logging.getLogger("flexnpud")


def install(app: FastAPI) -> None:
    """Every error that leaves the app has this form."""

    @app.exception_handler(FlexNpuError)
    async def known(_: Request, error: FlexNpuError) -> JSONResponse:
        return _respond(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"] if part not in ("body", "query", "path"))
        value = f" {found['input']!r}" if isinstance(found.get("input"), str | int | float) else ""
        return _respond(InvalidValue(f"{where or 'request'}{value}: {found['msg']}", next_step="see /docs"))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        problem = Problem(
            type="about:blank",
            title=str(error.detail),
            status=error.status_code,
            detail=f"{request.method} {request.url.path}: {error.detail}",
            code="http_error",
            next_step="see /docs",
        )
        return _json(problem)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _respond(DaemonFault("the daemon failed at this request", next_step="see its log"))


def _respond(error: FlexNpuError) -> JSONResponse:
    problem = Problem(
        type=f"urn:flexnpu:problem:{error.code}",
        title=error.code.replace("_", " "),
        status=error.status,
        detail=error.message,
        code=error.code,
        limit=error.limit,
        used=error.used,
        requested=error.requested,
        next_step=error.next_step,
    )
    return _json(problem)


def _json(problem: Problem) -> JSONResponse:
    content = problem.model_dump(exclude_none=True)
    return JSONResponse(content, status_code=problem.status, media_type="application/problem+json")
