# SPDX-License-Identifier: Apache-2.0
"""The annotation flexnpu.io/status: what became of a pod's annotations, per container and vNPU.

It is the agent's memory, too: annotations that it says were observed are not carried out again, so that neither a
restart of the agent nor a controller that has moved cores since is answered by moving them back.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from device_plugin.cluster.annotations import STATUS


class Before(BaseModel):
    """What the vNPU had before the first annotation, to which it goes back when one is taken away."""

    model_config = ConfigDict(frozen=True)

    cores: int
    burst: int | None = None
    phase: str | None = None


class Outcome(BaseModel):
    """vnpu, id: its name, and its number, since names are used again. observed: the annotations that were acted upon,
    by key. cores, burst, phase, revision: the quota since. applied: it is in force in all processes on it. error: why
    it is not as asked; retry: it may yet be."""

    model_config = ConfigDict(frozen=True)

    vnpu: str
    id: int
    observed: dict[str, str]
    before: Before
    cores: int | None = None
    burst: int | None = None
    phase: str | None = None
    revision: int | None = None
    applied: bool = False
    error: str = ""
    retry: bool = Field(default=False)

    @property
    def settled(self) -> bool:
        """Nothing is left to be seen to while the annotations stay as they are."""
        return self.applied if not self.error else not self.retry


Outcomes = dict[str, Outcome]  # by container
_OUTCOMES = TypeAdapter(Outcomes)


def outcomes_of(annotations: Mapping[str, str]) -> Outcomes:
    """None of them where the annotation is missing, or is not one that this agent wrote."""
    try:
        return _OUTCOMES.validate_json(annotations[STATUS])
    except (KeyError, ValidationError):
        return {}


def text_of(outcomes: Outcomes) -> str:
    """As the annotation has it: the same for the same outcomes."""
    return _OUTCOMES.dump_json(dict(sorted(outcomes.items())), exclude_defaults=True).decode()
