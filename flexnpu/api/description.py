# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI description: what FastAPI makes of the routes, with the problems and headers that every route has."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from flexnpu.api.problems import MEANINGS, MEDIA_TYPE, REQUEST_ID

TEXT: Final = (
    "The admin API of flexnpud. On the admin socket the kernel says who asks; over TCP a bearer token or a client "
    "certificate does. Errors are problems (RFC 9457). X-Request-Id names a request in its answer and in the log."
)

_EVERYWHERE: Final = (401, 403, 422, 429, 431, 500)
_WITH_BODY: Final = (400, 408, 413)
_OF_FASTAPI: Final = ("HTTPValidationError", "ValidationError")
_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_ID_HEADER: Final = {REQUEST_ID: {"schema": {"type": "string"}, "description": "The request's own, or a new one."}}
_RETRY: Final = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}}


def describe(app: FastAPI) -> dict[str, Any]:
    """Made once; app.openapi of the application."""
    if app.openapi_schema is None:
        app.openapi_schema = _made(app)
    return app.openapi_schema


def _made(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for operations in made["paths"].values():
        for method, operation in operations.items():
            _complete(method, operation)
    components = made["components"]
    for name in _OF_FASTAPI:
        components["schemas"].pop(name, None)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "Over TCP; made by flexnpu token."}
    }
    made["security"] = [{}, {"token": []}]
    return made


def _complete(method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    statuses = (*_EVERYWHERE, *(_WITH_BODY if method not in ("get", "head") else ()))
    for status in map(str, statuses):
        answers[status] = {"description": MEANINGS[int(status)]}
    for status, answer in answers.items():
        headers = answer.setdefault("headers", {})
        headers.update(_ID_HEADER)
        if int(status) >= 400:
            answer["content"] = {MEDIA_TYPE: {"schema": _PROBLEM}}
        if status in ("429", "503"):
            headers.update(_RETRY)
    operation["responses"] = dict(sorted(answers.items()))
    for parameter in operation.get("parameters", ()):
        if parameter["name"].lower() == "if-match":
            parameter["required"] = "428" in answers
