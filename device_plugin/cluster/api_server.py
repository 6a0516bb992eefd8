# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes API as a service account sees it: the few verbs that a node's agent needs, over HTTP."""

from __future__ import annotations

import json
import ssl
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from flexnpu.errors import FlexNpuError, InvalidValue

Object = dict[str, Any]  # a Kubernetes object, as JSON has it

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ANSWER_WITHIN_S = 10.0
SILENT_FOR_S = 90.0  # of a watch: bookmarks come once a minute


class ApiError(FlexNpuError):
    """The API server refused. http: its status code; reason: its word for it, such as Conflict."""

    code = "kubernetes_refused"

    def __init__(self, http: int, reason: str, message: str) -> None:
        super().__init__(message, next_step="see the role of the agent's service account" if http == 403 else "")
        self.http = http
        self.reason = reason


class UnreachableError(FlexNpuError):
    """The API server did not answer, or its stream broke off."""

    code = "kubernetes_unreachable"


@dataclass(frozen=True, slots=True)
class Where:
    """An API server and how it is spoken to. The token's file is read anew with each request: it is renewed hourly."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None

    @classmethod
    def in_cluster(cls, environ: Mapping[str, str], mounted: Path = SERVICE_ACCOUNT) -> Self:
        """As every pod is told; InvalidValue outside of one."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise InvalidValue(
                "KUBERNETES_SERVICE_HOST is not set, so this is no pod",
                next_step="give --api-server, --token-file and --ca-file",
            )
        bracketed = f"[{host}]" if ":" in host else host
        return cls(f"https://{bracketed}:{port}", mounted / "token", mounted / "ca.crt")


class _TokenFile(httpx.Auth):
    def __init__(self, path: Path) -> None:
        self._path = path

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        try:
            request.headers["Authorization"] = f"Bearer {self._path.read_text(encoding='ascii').strip()}"
        except (OSError, UnicodeDecodeError) as error:
            raise UnreachableError(f"token file {self._path} cannot be read ({error})") from error
        yield request


class ApiServer:
    """One connection pool to an API server; for several threads at once."""

    def __init__(self, where: Where) -> None:
        self.url = where.url
        self._http = httpx.Client(
            base_url=where.url,
            auth=_TokenFile(where.token_file) if where.token_file else None,
            verify=_tls(where.ca_file),
            timeout=ANSWER_WITHIN_S,
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str) -> Object:
        return self._ask("GET", path)

    def create(self, path: str, obj: Object) -> Object:
        return self._ask("POST", path, obj)

    def patch(self, path: str, change: Object) -> Object:
        """RFC 7396: a list is replaced as a whole."""
        return self._ask("PATCH", path, change, {"Content-Type": "application/merge-patch+json"})

    def list(self, path: str, params: Mapping[str, str]) -> tuple[list[Object], str]:
        """All objects, and the resource version from which a watch goes on."""
        answer = self._ask("GET", path, params=params)
        return answer.get("items") or [], str(answer["metadata"]["resourceVersion"])

    def watch(self, path: str, params: Mapping[str, str], version: str) -> Iterator[tuple[str, Object]]:
        """What happens after `version`: the kind (ADDED, MODIFIED, DELETED, BOOKMARK) and the object. Ends when the
        server ends it. ApiError with http 410 when that version is not known any more; UnreachableError."""
        asked = {**params, "watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version}
        try:
            with self._http.stream(
                "GET", path, params=asked, timeout=httpx.Timeout(ANSWER_WITHIN_S, read=SILENT_FOR_S)
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer.status_code, answer.content)
                for line in answer.iter_lines():
                    told = _json(line)
                    if told["type"] == "ERROR":
                        status = told["object"]
                        raise ApiError(status.get("code", 500), status.get("reason", ""), status.get("message", ""))
                    yield told["type"], told["object"]
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _ask(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Object:
        content = None if body is None else json.dumps(body).encode()
        told = {"Content-Type": "application/json", **(headers or {})} if body is not None else {}
        try:
            answer = self._http.request(method, path, content=content, headers=told, params=params)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not answer.is_success:
            raise _refusal(answer.status_code, answer.content)
        return _json(answer.content)

    def _unreachable(self, error: httpx.HTTPError) -> UnreachableError:
        why = " ".join(str(error).split()) or type(error).__name__
        return UnreachableError(f"the API server at {self.url} did not answer ({why})")


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidValue(f"CA file {ca_file} cannot be used ({error})", next_step="name a PEM file") from error


def _json(text: str | bytes) -> Object:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UnreachableError("the API server's answer is no JSON") from error
    if not isinstance(found, dict):
        raise UnreachableError("the API server's answer is no object")
    return found


def _refusal(code: int, content: bytes) -> ApiError:
    try:
        status = json.loads(content)
        return ApiError(code, str(status.get("reason", "")), str(status.get("message", "")))
    except (ValueError, AttributeError):
        return ApiError(code, "", f"the API server answered {code}")
