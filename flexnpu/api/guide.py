# SPDX-License-Identifier: Apache-2.0
"""Prints docs/api.md, made from the description: python -m flexnpu.api.guide > docs/api.md

The lines for curl are run by a test, in the order of the page, on a daemon that has just been started.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flexnpu.api.describe import describe

_HEAD: Final = """# The admin API

Made by `python -m flexnpu.api.guide` from [openapi.json](openapi.json) (OpenAPI 3.1); tests hold both to the code,
and run the lines below.

    api() { curl -sS --fail-with-body --unix-socket "${FLEXNPU_RUNTIME_DIR:-/run/flexnpu}/admin.sock" "$@"; }

**Who may.** On the admin socket the kernel says who asks: the daemon's own user, root, and members of
`--admin-group`. Over TCP (`flexnpud --listen HOST:PORT --tls-cert … --tls-key …`) a bearer token does (`--tokens
FILE`, lines of `flexnpu token NAME --scope write`; SIGHUP reads it again), or a client certificate of `--client-ca`,
whose holder may do everything. On loopback tokens suffice without TLS. Less than that takes `--insecure-listen`.
Clients: `FLEXNPU_URL`, `FLEXNPU_TOKEN_FILE`, `FLEXNPU_CA_FILE`, `FLEXNPU_CERT_FILE`, or the options of `flexnpu` of
these names. What a browser asks over TCP for a page of another origin is refused.

**The web page** is at `/` ([web.md](web.md)). Its files are for whoever may connect; what it shows, it asks for here,
with a token that its reader enters.

**Revisions.** Each change of a vNPU's quota or phase raises its revision by one. The ETag is the revision in quotes;
a change says in `If-Match` which one it is of, or `*`. Without it: 428; when it is another by now: 412.

**Later.** A change is in force when no work that was cut for the older revision can be launched any more. Until then
the answer is 202, with `Location: /api/v1/operations/ID`; `?wait=2s` waits. An operation is known to later daemons
too.

**Again.** A POST with an `Idempotency-Key` may be sent again: the same key and body get the same answer, for a day or
as long as the daemon lives; another body gets 422. `X-Request-Id` is kept, or made, and is in the answer.

**The log** has a line for each change that was asked for: `flexnpud: audit {…}`, JSON with `at`, `request`, `who`,
`action`, `target`, `reason` (header `X-Reason`), `old`, `new`, `outcome` (`done`, or a problem's code). Of a
controller's signs of life and decisions there is none.

**Bounds.** A body of 1 MiB, headers of 16 KiB, 10 s for a request to come, 512 connections of a listener, 64 readers
of events and of steps, `--rate-limit` requests a second of one caller (429, `Retry-After`), 16 forecasts that wait
(503).

**Problems** are `application/problem+json` (RFC 9457): `code` is a class of flexnpu.errors, with `limit`, `used`,
`requested` where it is about amounts, and `next_step`. Every route may answer 401, 403, 422, 429, 431 and 500; with a
body 400, 408 and 413 too.
"""

_STATE: Final = {
    "mode": "split",
    "moves": False,
    "devices": [0],
    "services": [
        {"name": "chat", "model": "Qwen2.5-7B", "ttft_s": 1, "itl_s": 0.05, "prefill": ["a"], "decode": ["b"]}
    ],
    "config": {"period": 0.05},
}
_RECORDS: Final = {
    "decisions": [
        {
            "number": 1,
            "device": 0,
            "mode": "split",
            "before": {"a": {"cores": 6}},
            "after": {"a": {"cores": 8}},
            "moved": True,
            "reason": "prompts wait",
        }
    ]
}
_API: Final = "http://d/api/v1"
_NEWEST: Final = f"""$(api '{_API}/controller/decisions?limit=1' | grep -o '"id":[0-9]*' | cut -d: -f2)"""


def _body(fields: Mapping[str, object], kind: str = "application/json") -> str:
    return f"-H 'Content-Type: {kind}' -d '{json.dumps(fields)}'"


def _patch(revision: int, fields: Mapping[str, object]) -> str:
    return f"-X PATCH -H 'If-Match: \"{revision}\"' {_body(fields, 'application/merge-patch+json')}"


# By operation, in the order of the page: what is asked later finds what was made before.
EXAMPLES: Final[Mapping[str, str]] = {
    "list_devices": f"api {_API}/devices",
    "get_device": f"api {_API}/devices/0",
    "create_vnpu": f"api {_API}/vnpus -H 'Idempotency-Key: 7f3c' "
    + _body({"name": "a", "cores": 4, "memory_bytes": 1 << 30}),
    "list_vnpus": f"api '{_API}/vnpus?limit=10'",
    "get_vnpu": f"api -i {_API}/vnpus/a",
    "change_vnpu": f"api {_API}/vnpus/a {_patch(1, {'phase': 'decode', 'labels': {'team': 'chat'}})}",
    "get_quota": f"api -i {_API}/vnpus/a/quota",
    "change_quota": f"api '{_API}/vnpus/a/quota?wait=2s' -H 'X-Reason: more load' {_patch(2, {'cores': 6})}",
    "rebalance": f"api '{_API}/rebalances?dry_run=true' " + _body({"moves": [{"vnpu": "a", "cores": 8}]}),
    "get_operation": f"api '{_API}/operations/1.3?wait=2s'",
    "list_tenants": f"api '{_API}/tenants?vnpu=a'",
    "put_controller": f"api -X PUT {_API}/controller/one {_body(_STATE)}",
    "list_controllers": f"api {_API}/controller",
    "get_controller": f"api {_API}/controller/one",
    "add_decisions": f"api {_API}/controller/one/decisions {_body(_RECORDS)}",
    "list_decisions": f"api '{_API}/controller/decisions?moved=true&limit=5'",
    "get_decision": f"api {_API}/controller/decisions/{_NEWEST}",
    "delete_controller": f"api -X DELETE {_API}/controller/one",
    "list_models": f"api {_API}/forecast",
    "forecast": f"api {_API}/forecast "
    + _body({"model": "Qwen2.5-7B", "soc": "Ascend910B2", "cores": 6, "decode": ["64x4096"]}),
    "follow_events": f"api -N --max-time 1 {_API}/events",
    "follow_steps": f"api -N --max-time 1 '{_API}/steps?vnpu=a'",
    "delete_vnpu": f"api -X DELETE {_API}/vnpus/a",
    "livez": "api http://d/livez",
    "readyz": "api http://d/readyz",
    "healthz": "api http://d/healthz",
    "version": "api http://d/version",
    "metrics": "api http://d/metrics",
}
_COMMON: Final = {"400", "401", "403", "408", "413", "422", "429", "431", "500"}


def page() -> str:
    """The page in Markdown."""
    made = describe()
    routes = {
        operation["operationId"]: (method.upper(), path, operation)
        for path, operations in made["paths"].items()
        for method, operation in operations.items()
    }
    parts = [_HEAD]
    tag = ""
    for name, line in EXAMPLES.items():
        method, path, operation = routes[name]
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            parts.append(f"\n## {tag}\n")
        parts += _section(method, path, operation, line)
    return "".join(parts)


def _section(method: str, path: str, operation: Mapping[str, Any], line: str) -> Iterator[str]:
    yield f"\n### {method} {path}\n\n{' '.join(operation['description'].split())}\n\n"
    yield f"    {line}\n\n"
    for each in operation.get("parameters", ()):
        told = each.get("description") or each["schema"].get("description", "")
        if each["in"] != "path" and each["name"] not in {"x-reason", "idempotency-key"}:
            required = ", required" if each.get("required") else ""
            yield f"- {each['in']} `{each['name']}`{required}: {told or _type(each['schema'])}\n"
    yield from _bodies(operation)


def _bodies(operation: Mapping[str, Any]) -> Iterator[str]:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"- body `{_type(content['schema'])}`, {kind}\n"
    for status, answer in operation["responses"].items():
        if status not in _COMMON:
            types = [f"`{_type(each.get('schema', {}))}`" for each in answer.get("content", {}).values()]
            yield f"- {status}{': ' if types else ''}{', '.join(types)}\n"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return str(schema.get("type", "text"))


if __name__ == "__main__":
    print(page(), end="")
