# SPDX-License-Identifier: Apache-2.0
"""From a container's annotations to its vNPU's quota, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Unpack

from device_plugin.cluster.annotations import NONE, PREFIX, QUOTA_KEYS, read
from device_plugin.cluster.status import Before, Outcome
from flexnpu.client import Limits, QuotaState, VNpu
from flexnpu.errors import DaemonError, FlexNpuError, InvalidValue

WAIT_S = 0.2  # most changes are in force within milliseconds; of a later one an event tells


class Quotas(Protocol):
    """The part of flexnpu.client.Client that changes quotas."""

    def vnpu(self, name: str) -> VNpu: ...

    def set_phase(self, name: str, phase: str | None) -> VNpu: ...

    def set_quota(
        self, name: str, *, cores: int | None = None, wait: float | None = None, **limits: Unpack[Limits]
    ) -> QuotaState: ...


def due(vnpu: VNpu, texts: Mapping[str, str], past: Outcome | None) -> bool:
    """Whether carry_out() has something to do, or to look at again. A container that was given another vNPU begins
    anew."""
    if past is None or past.id != vnpu.id:
        return bool(texts)
    return past.observed != dict(texts) or not past.settled


def carry_out(
    quotas: Quotas, vnpu: VNpu, texts: Mapping[str, str], past: Outcome | None, *, grow: bool = True
) -> Outcome | None:
    """texts: the annotations of the container, by key. past: what came of earlier ones. None where nothing was ever
    asked. Only what has changed since is set, so that cores which a controller has moved stay where they are. grow: to
    more cores than it was made with. DaemonError when the daemon does not answer."""
    if past is not None and past.id != vnpu.id:
        past = None
    if not due(vnpu, texts, past):
        return past
    if past is not None and past.observed == dict(texts) and not past.error:
        return _now(past, vnpu)  # it was set, and is not in force everywhere yet
    before = past.before if past else Before(cores=vnpu.cores, burst=_burst(vnpu), phase=vnpu.phase)
    outcome = Outcome(vnpu=vnpu.name, id=vnpu.id, observed=dict(texts), before=before)
    try:
        wanted = _wanted(texts, before)
        if not grow and wanted.cores > before.cores:
            raise InvalidValue(
                f"annotation {PREFIX}cores {wanted.cores} is more than the {before.cores} that the container was given",
                next_step="no pod may grow here (agent.grow); ask for more in its resources",
            )
        _set(quotas, vnpu.name, wanted, _changed(texts, past))
    except DaemonError:
        raise
    except FlexNpuError as error:
        refused = {"error": str(error), "retry": not isinstance(error, InvalidValue), "applied": False}
        return _now(outcome, vnpu).model_copy(update=refused)
    return _now(outcome, quotas.vnpu(vnpu.name))


def _wanted(texts: Mapping[str, str], before: Before) -> Before:
    """The quota that these annotations ask for; what they do not name is as it was before the first of them."""
    asked = read(texts)
    return Before(
        cores=before.cores if asked.cores is None else asked.cores,
        burst=before.burst if asked.burst is None else asked.burst or None,
        phase=before.phase if asked.phase is None else asked.phase or None,
    )


def _changed(texts: Mapping[str, str], past: Outcome | None) -> set[str]:
    """The keys that say another thing than they did; after a refusal, all that are or were there."""
    observed = past.observed if past else {}
    again = past is not None and bool(past.error)
    return {key for key in QUOTA_KEYS if (again and key in {*texts, *observed}) or texts.get(key) != observed.get(key)}


def _set(quotas: Quotas, name: str, wanted: Before, keys: set[str]) -> None:
    if "phase" in keys:
        quotas.set_phase(name, wanted.phase)
    limits: Limits = {"burst_cores": wanted.burst} if "burst" in keys else {}
    if keys & {"cores", "burst"}:
        quotas.set_quota(name, cores=wanted.cores if "cores" in keys else None, wait=WAIT_S, **limits)


def _now(outcome: Outcome, vnpu: VNpu) -> Outcome:
    return outcome.model_copy(
        update={
            "cores": vnpu.cores,
            "burst": _burst(vnpu),
            "phase": vnpu.phase,
            "revision": vnpu.revision,
            "applied": vnpu.applied,
        }
    )


def _burst(vnpu: VNpu) -> int | None:
    """None where it may have no more than its cores."""
    return None if vnpu.burst_cores in (None, vnpu.cores) else vnpu.burst_cores


def sentence(outcome: Outcome) -> str:
    """For a person, in an Event."""
    if outcome.error:
        return outcome.error
    burst = f", up to {outcome.burst} with idle ones" if outcome.burst else ""
    phase = outcome.phase or NONE
    return f"vNPU {outcome.vnpu}: {outcome.cores} cores{burst}, phase {phase} (revision {outcome.revision})"
