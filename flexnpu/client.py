# SPDX-License-Identifier: Apache-2.0
"""The daemon's admin API in Python. Raises flexnpu.errors, as the daemon itself would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

import httpx
from pydantic import BaseModel, ValidationError

from flexnpu.api.models import (
    Device,
    Event,
    Move,
    NewVNpu,
    Problem,
    QuotaChange,
    QuotaState,
    Rebalance,
    RebalanceState,
    Step,
    Tenant,
    Version,
    VNpu,
)
from flexnpu.errors import DaemonFault, NoDaemon, by_code
from flexnpu.paths import RuntimeDir
from flexnpu.tenancy.vnpu import check_name

_Model = TypeVar("_Model", bound=BaseModel)
ANSWER_WITHIN_S = 10.0
SILENT_FOR_S = 5.0  # of a stream that speaks once a second


class Limits(TypedDict, total=False):
    """The rarer parts of a quota; None takes burst_cores, vector_cores or share_percent away."""

    burst_cores: int | None
    vector_cores: int | None
    share_percent: float | None
    fixed_share: bool
    priority: int


class Client:
    """One connection to the daemon of a runtime directory. Not for several threads at once."""

    def __init__(self, runtime_dir: str | Path | None = None) -> None:
        self.paths = RuntimeDir.find(runtime_dir)
        transport = httpx.HTTPTransport(uds=str(self.paths.admin_socket))
        self._http = httpx.Client(transport=transport, base_url="http://flexnpud", timeout=ANSWER_WITHIN_S)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def devices(self) -> list[Device]:
        return _read_list(Device, self._ask("GET", "/api/v1/devices"))

    def vnpus(self) -> list[VNpu]:
        return _read_list(VNpu, self._ask("GET", "/api/v1/vnpus"))

    def vnpu(self, name: str) -> VNpu:
        return _read(VNpu, self._ask("GET", _path(name)))

    def create_vnpu(  # noqa: PLR0913 - the fields of the vNPU, by name
        self,
        name: str,
        *,
        cores: int,
        memory_bytes: int,
        device: int | Sequence[int] = 0,
        phase: str | None = None,
        owner_pid: int | None = None,
        **limits: Unpack[Limits],
    ) -> VNpu:
        """With several devices, it has that quota on each. With owner_pid, the daemon deletes it when that process is
        dead."""
        fields = {
            "name": name,
            "devices": [device] if isinstance(device, int) else list(device),
            "cores": cores,
            "memory_bytes": memory_bytes,
            "phase": phase,
            "owner_pid": owner_pid,
            **limits,
        }
        return _read(VNpu, self._ask("POST", "/api/v1/vnpus", fields))

    def delete_vnpu(self, name: str, *, force: bool = False) -> None:
        """force: even when tenants are alive; they are killed."""
        self._ask("DELETE", _path(name), params={"force": force})

    def set_quota(
        self,
        name: str,
        *,
        cores: int | None = None,
        memory_bytes: int | None = None,
        wait: float | None = None,
        if_revision: int | None = None,
        **limits: Unpack[Limits],
    ) -> QuotaState:
        """What is not given stays. wait: seconds to wait until it is applied; see QuotaState.applied."""
        fields = {"cores": cores, "memory_bytes": memory_bytes, **limits}
        headers = {} if if_revision is None else {"If-Match": f'"{if_revision}"'}
        answer = self._ask("PATCH", f"{_path(name)}/quota", fields, wait=wait, headers=headers)
        return _read(QuotaState, answer)

    def rebalance(self, moves: Sequence[Move | Mapping[str, object]], wait: float | None = None) -> RebalanceState:
        """All moves or none, in one transaction. Each is a Move or a mapping of its fields; what it does not name
        stays."""
        named = [move.model_dump(exclude_unset=True) if isinstance(move, Move) else dict(move) for move in moves]
        return _read(RebalanceState, self._ask("POST", "/api/v1/rebalances", {"moves": named}, wait=wait))

    def tenants(self) -> list[Tenant]:
        return _read_list(Tenant, self._ask("GET", "/api/v1/tenants"))

    def events(self, after: int = 0) -> Iterator[Event]:
        """What has happened after the event of that id, then what happens, until the daemon ends. It takes the
        connection: use another client meanwhile."""
        told = self._follow(Event, "/api/v1/events", timeout=None, headers={"Last-Event-ID": str(after)})
        return (event for event in told if event is not None)

    def steps(self, names: Sequence[str]) -> Iterator[Step | None]:
        """The newest step of each tenant of these vNPUs, then each as it begins, until the daemon or the first of the
        vNPUs ends; None at least once a second while none does. It takes the connection, as events() does."""
        return self._follow(
            Step, "/api/v1/steps", timeout=SILENT_FOR_S, params={"vnpu": [check_name(name) for name in names]}
        )

    def version(self) -> Version:
        return _read(Version, self._ask("GET", "/version"))

    def _follow(
        self,
        model: type[_Model],
        path: str,
        **request: Any,  # noqa: ANN401 - of httpx
    ) -> Iterator[_Model | None]:
        """What is told; None for each sign of life without news."""
        try:
            with self._http.stream("GET", path, **request) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _error(answer)
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield _read(model, _json(line.removeprefix("data: ")))
                    elif line.startswith(":"):
                        yield None
        except httpx.ConnectError as error:
            raise self._no_daemon() from error
        except httpx.HTTPError:  # the daemon was killed
            return

    def _ask(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        path: str,
        fields: dict[str, Any] | None = None,
        *,
        wait: float | None = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON; the caller validates it
        params = {**(params or {}), **({"wait": wait} if wait else {})}
        timeout = ANSWER_WITHIN_S + (wait or 0.0)
        try:
            answer = self._http.request(method, path, json=fields, params=params, headers=headers, timeout=timeout)
        except httpx.ConnectError as error:
            raise self._no_daemon() from error
        except httpx.HTTPError as error:
            raise DaemonFault(f"the daemon did not answer ({error})", next_step="see its log") from error
        if answer.is_success:
            try:
                return answer.json() if answer.content else None
            except ValueError as error:
                raise DaemonFault("the daemon's answer is no JSON", next_step="see its log") from error
        raise _error(answer)

    def _no_daemon(self) -> NoDaemon:
        return NoDaemon(
            f"no daemon listens in {self.paths.root}", next_step="start flexnpud, or set FLEXNPU_RUNTIME_DIR"
        )


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DaemonFault("what the daemon tells is no JSON", next_step="see its log") from error


def _read(model: type[_Model], answer: object) -> _Model:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or model.__name__
        raise DaemonFault(
            f"the daemon's answer cannot be read ({where}: {first['msg']})",
            next_step="the daemon and this command are of different versions: see flexnpu version",
        ) from error


def _read_list(model: type[_Model], answer: object) -> list[_Model]:
    if not isinstance(answer, list):
        raise DaemonFault("the daemon's answer is no list", next_step="compare versions: flexnpu version")
    return [_read(model, item) for item in answer]


def _error(answer: httpx.Response) -> Exception:
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        return DaemonFault(f"the daemon answered {answer.status_code}", next_step="see its log")
    return by_code(problem.code)(
        problem.detail,
        next_step=problem.next_step,
        limit=problem.limit,
        used=problem.used,
        requested=problem.requested,
    )


def _path(name: str) -> str:
    return f"/api/v1/vnpus/{check_name(name)}"


__all__ = [
    "Client",
    "Device",
    "Event",
    "Limits",
    "Move",
    "NewVNpu",
    "QuotaChange",
    "QuotaState",
    "Rebalance",
    "RebalanceState",
    "Step",
    "Tenant",
    "VNpu",
    "Version",
]
