# SPDX-License-Identifier: Apache-2.0
"""The daemon's admin API in Python. Raises flexnpu.errors, as the daemon itself would."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

from pydantic import BaseModel, ValidationError

from flexnpu.api.controller import (
    MOST_RECORDS,
    ControlledService,
    Controller,
    ControllerState,
    Decision,
    RecordsKept,
)
from flexnpu.api.models import (
    Device,
    Event,
    Move,
    NewVNpu,
    Operation,
    Page,
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
from flexnpu.api.what_if import ForecastAnswer, ForecastQuestion
from flexnpu.connection import Answer, Broken, NobodyThere, Values
from flexnpu.endpoint import Endpoint
from flexnpu.errors import DaemonFault, by_code
from flexnpu.paths import RuntimeDir
from flexnpu.tenancy.vnpu import check_name

_Model = TypeVar("_Model", bound=BaseModel)
_Item = TypeVar("_Item")
ANSWER_WITHIN_S = 10.0
FORECAST_WITHIN_S = 60.0
ITEMS_AT_ONCE = 500
MOST_REASON = 256
SILENT_FOR_S = 5.0  # of steps, which speak once a second
EVENTS_SILENT_FOR_S = 45.0  # of events, which speak every 15 seconds


class Limits(TypedDict, total=False):
    """The rarer parts of a quota; None takes burst_cores, vector_cores or share_percent away."""

    burst_cores: int | None
    vector_cores: int | None
    share_percent: float | None
    fixed_share: bool
    priority: int


class Client:
    """One connection to a daemon: of that runtime directory, of `endpoint`, or as the environment says (FLEXNPU_URL,
    FLEXNPU_RUNTIME_DIR). Not for several threads at once. reason: why changes are made, for the audit line."""

    def __init__(
        self, runtime_dir: str | Path | None = None, *, endpoint: Endpoint | None = None, reason: str | None = None
    ) -> None:
        self._endpoint = endpoint or Endpoint.find(runtime_dir, os.environ)
        self._http = self._endpoint.connect(ANSWER_WITHIN_S)
        self.reason = reason

    @property
    def paths(self) -> RuntimeDir:
        """InvalidValue where the daemon is one at a URL."""
        return self._endpoint.paths

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def devices(self) -> list[Device]:
        return [*self._pages(Page[Device], "/api/v1/devices")]

    def vnpus(self) -> list[VNpu]:
        return [*self._pages(Page[VNpu], "/api/v1/vnpus")]

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
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
        attach_dirs: Sequence[Path] = (),
        **limits: Unpack[Limits],
    ) -> VNpu:
        """With several devices, it has that quota on each. With owner_pid, the daemon deletes it when that process is
        dead. idempotency_key: who sends it again with the same, because the answer was lost, gets the same answer.
        attach_dirs: folders that get an attach socket of this vNPU alone."""
        fields = {
            "name": name,
            "devices": [device] if isinstance(device, int) else list(device),
            "cores": cores,
            "memory_bytes": memory_bytes,
            "phase": phase,
            "owner_pid": owner_pid,
            "labels": dict(labels or {}),
            "attach_dirs": [*map(str, attach_dirs)],
            **limits,
        }
        return _read(VNpu, self._ask("POST", "/api/v1/vnpus", fields, headers=_key(idempotency_key)))

    def delete_vnpu(self, name: str, *, force: bool = False, if_revision: int | None = None) -> None:
        """force: even when tenants are alive; they are killed."""
        self._ask("DELETE", _path(name), params={"force": force}, headers=_match(if_revision))

    def set_phase(self, name: str, phase: str | None, *, if_revision: int | None = None) -> VNpu:
        """What is served on it; a revision of its quota too."""
        return _read(VNpu, self._ask("PATCH", _path(name), {"phase": phase}, headers=_match(if_revision)))

    def set_labels(self, name: str, labels: Mapping[str, str | None], *, if_revision: int | None = None) -> VNpu:
        """Labels that are not named stay; None takes one away."""
        return _read(VNpu, self._ask("PATCH", _path(name), {"labels": dict(labels)}, headers=_match(if_revision)))

    def quota(self, name: str) -> QuotaState:
        """And how far it is in force."""
        return _read(QuotaState, self._ask("GET", f"{_path(name)}/quota"))

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
        """What is not given stays. wait: seconds to wait until it is applied; see QuotaState.applied. if_revision: what
        was decided on; RevisionChanged when it is another now."""
        given = {"cores": cores, "memory_bytes": memory_bytes}
        fields = {**{name: value for name, value in given.items() if value is not None}, **limits}
        answer = self._ask("PATCH", f"{_path(name)}/quota", fields, wait=wait, headers=_match(if_revision))
        return _read(QuotaState, answer)

    def rebalance(
        self, moves: Sequence[Move | Mapping[str, object]], wait: float | None = None, *, dry_run: bool = False
    ) -> RebalanceState:
        """All moves or none, in one transaction. Each is a Move or a mapping of its fields; what it does not name
        stays. dry_run: nothing changes."""
        named = [move.model_dump(exclude_unset=True) if isinstance(move, Move) else dict(move) for move in moves]
        params = {"dry_run": True} if dry_run else None
        return _read(
            RebalanceState, self._ask("POST", "/api/v1/rebalances", {"moves": named}, wait=wait, params=params)
        )

    def operation(self, id_: str, wait: float | None = None) -> Operation:
        """What became of a change that was not applied in time."""
        return _read(Operation, self._ask("GET", f"/api/v1/operations/{id_}", wait=wait))

    def tenants(self, vnpu: str | None = None) -> list[Tenant]:
        """All of them, or those of a vNPU."""
        return [*self._pages(Page[Tenant], "/api/v1/tenants", {} if vnpu is None else {"vnpu": vnpu})]

    def controllers(self) -> list[Controller]:
        """What the controllers of the node told of themselves."""
        return [*self._pages(Page[Controller], "/api/v1/controller")]

    def decisions(self, **filters: str | int | bool) -> Iterator[Decision]:
        """Of the controllers, the newest first. filters: controller, device, moved."""
        return self._pages(Page[Decision], "/api/v1/controller/decisions", filters)

    def decision(self, id_: int) -> Decision:
        """Of the controllers, by the id that the daemon gave it."""
        return _read(Decision, self._ask("GET", f"/api/v1/controller/decisions/{id_}"))

    def put_controller(self, name: str, state: ControllerState) -> Controller:
        """A controller tells its state: at its beginning, with each change, and again within renew_within_s."""
        return _read(Controller, self._ask("PUT", _controller(name), state.model_dump(mode="json")))

    def delete_controller(self, name: str) -> None:
        """A controller has ended."""
        self._ask("DELETE", _controller(name))

    def add_decisions(
        self, name: str, decisions: Sequence[Mapping[str, object]], outcomes: Sequence[Mapping[str, object]] = ()
    ) -> list[int]:
        """A controller tells its decisions, and what came of earlier ones; the ids of the decisions. Numbers that are
        not finite are told as null."""
        ids: list[int] = []
        for at in range(0, max(len(decisions), len(outcomes)), MOST_RECORDS):
            end = at + MOST_RECORDS
            fields = {"decisions": [*decisions[at:end]], "outcomes": [*outcomes[at:end]]}
            answer = self._ask("POST", f"{_controller(name)}/decisions", _finite(fields))
            ids += _read(RecordsKept, answer).decisions
        return ids

    def forecast(self, question: ForecastQuestion) -> ForecastAnswer:
        """What if; modelled, not measured."""
        fields = question.model_dump(mode="json")
        return _read(ForecastAnswer, self._ask("POST", "/api/v1/forecast", fields, within=FORECAST_WITHIN_S))

    def events(self, after: int | None = None, *, follow: bool = True) -> Iterator[Event]:
        """What has happened after the event of that id, or all that is known, then, to follow, what happens, until the
        daemon ends. A resync says that some after it are not known any more. It takes the connection: use another
        meanwhile."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        params = {} if follow else {"follow": False}
        told = self._follow(Event, "/api/v1/events", timeout=EVENTS_SILENT_FOR_S, headers=headers, params=params)
        return (event for event in told if event is not None)

    def steps(self, names: Sequence[str]) -> Iterator[Step | None]:
        """The newest step of each tenant of these vNPUs, then each as it begins, until the daemon or the first of the
        vNPUs ends; None at least once a second while none does. It takes the connection, as events() does."""
        return self._follow(
            Step, "/api/v1/steps", timeout=SILENT_FOR_S, params={"vnpu": [check_name(name) for name in names]}
        )

    def version(self) -> Version:
        return _read(Version, self._ask("GET", "/version"))

    def _pages(
        self, model: type[Page[_Item]], path: str, filters: Mapping[str, str | int | bool] | None = None
    ) -> Iterator[_Item]:
        params: dict[str, Any] = {**(filters or {}), "limit": ITEMS_AT_ONCE}
        while True:
            page = _read(model, self._ask("GET", path, params=params))
            yield from page.items
            if page.next_cursor is None:
                return
            params["cursor"] = page.next_cursor

    def _follow(
        self,
        model: type[_Model],
        path: str,
        *,
        timeout: float | None,
        params: Values | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[_Model | None]:
        """What is told; None for each sign of life without news."""
        try:
            with self._http.follow(path, timeout_s=timeout, params=params, headers=headers or {}) as (status, lines):
                if not Answer(status, b"").ok:
                    raise _error(Answer(status, b"".join(lines)))
                for line in lines:
                    if line.startswith(b"data: "):
                        yield _read(model, _json(line.removeprefix(b"data: ")))
                    elif line.startswith(b":"):
                        yield None
        except NobodyThere as error:
            raise self._endpoint.nobody_there(error) from error
        except Broken:  # the daemon was killed
            return

    def _ask(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        path: str,
        fields: dict[str, Any] | None = None,
        *,
        wait: float | None = None,
        within: float = ANSWER_WITHIN_S,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON; the caller validates it
        params = {**(params or {}), **({"wait": f"{max(wait, 1e-6):.6f}s"} if wait else {})}
        timeout = within + (wait or 0.0)
        told = {**(headers or {}), **({"X-Reason": _header(self.reason)} if self.reason else {})}
        try:
            answer = self._http.ask(method, path, fields, params=params, headers=told, timeout_s=timeout)
        except NobodyThere as error:
            raise self._endpoint.nobody_there(error) from error
        except Broken as error:
            raise DaemonFault(f"the daemon did not answer ({error})", next_step="see its log") from error
        if answer.ok:
            return _json(answer.body) if answer.body else None
        raise _error(answer)


def _json(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DaemonFault("the daemon's answer is no JSON", next_step="see its log") from error


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


def _error(answer: Answer) -> Exception:
    try:
        problem = Problem.model_validate_json(answer.body)
    except ValidationError:
        return DaemonFault(f"the daemon answered {answer.status}", next_step="see its log")
    return by_code(problem.code)(
        problem.detail,
        next_step=problem.next_step,
        limit=problem.limit,
        used=problem.used,
        requested=problem.requested,
    )


def _match(revision: int | None) -> dict[str, str]:
    return {"If-Match": "*" if revision is None else f'"{revision}"'}


def _key(idempotency_key: str | None) -> dict[str, str]:
    return {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}


def _header(text: str) -> str:
    """In one line of ASCII."""
    return " ".join(text.encode("ascii", "replace").decode().split())[:MOST_REASON]


def _finite(value: object) -> Any:  # noqa: ANN401 - JSON
    """The value as JSON can say it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_finite(each) for each in value]
    return value


def _controller(name: str) -> str:
    return f"/api/v1/controller/{check_name(name)}"


def _path(name: str) -> str:
    return f"/api/v1/vnpus/{check_name(name)}"


__all__ = [
    "Client",
    "ControlledService",
    "Controller",
    "ControllerState",
    "Decision",
    "Device",
    "Endpoint",
    "Event",
    "ForecastAnswer",
    "ForecastQuestion",
    "Limits",
    "Move",
    "NewVNpu",
    "Operation",
    "QuotaChange",
    "QuotaState",
    "Rebalance",
    "RebalanceState",
    "Step",
    "Tenant",
    "VNpu",
    "Version",
]
