# SPDX-License-Identifier: Apache-2.0
"""What crosses the admin socket, in both directions."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

API_VERSION = 1

MOST_CORES = 0xFFFF  # what the control page's quota word can say
MOST_BYTES = 2**50


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Device(_Answer):
    """A device, and the environment that brings a process to it (LD_LIBRARY_PATH: to be prepended)."""

    index: int
    soc: str
    kind: Literal["software", "ascend"]
    cores: int
    memory_bytes: int
    cores_free: int
    memory_free: int
    memory_used: int | None = None
    clock: Literal["free", "paced"] | None = None
    math: Literal["exact", "skip"] | None = None
    scale: float | None = None
    environment: dict[str, str]


class NewVNpu(_Question):
    """A vNPU to be made; with owner_pid it ends with that process."""

    name: str
    device: int | None = Field(default=None, ge=0, le=MOST_CORES, description="one device; 0 when none is named")
    devices: list[int] | None = Field(default=None, min_length=1, description="several, as the program counts them")
    cores: int = Field(ge=1, le=MOST_CORES)
    memory_bytes: int = Field(ge=1, le=MOST_BYTES)
    burst_cores: int | None = Field(default=None, ge=1, le=MOST_CORES, description="null: no more than cores")
    vector_cores: int | None = Field(default=None, ge=1, le=MOST_CORES, description="null: in proportion to the cores")
    share_percent: float | None = Field(default=None, gt=0, le=100, description="of device time; null: all the time")
    fixed_share: bool = Field(default=False, description="never more than the share, even alone")
    priority: int = Field(default=0, ge=0, le=7, description="higher goes first")
    phase: Literal["prefill", "decode"] | None = None
    owner_pid: int | None = Field(default=None, ge=1, lt=2**31)

    @model_validator(mode="after")
    def _one_way_to_say_where(self) -> Self:
        if self.device is not None and self.devices is not None:
            raise ValueError("give device or devices, not both")
        return self


class VNpuUse(_Answer):
    """A vNPU on one of its devices. used_s: device time; memory: of all its tenants together."""

    device: int
    granted_cores: int
    lent_cores: int
    held_cores: int
    used_s: float
    turns: int
    memory_used: int
    memory_peak: int


class VNpu(_Answer):
    """cores, memory_bytes, revision: as registered, on each device. granted: published to its tenants, on the device
    that is least far. applied: in force in all. lent_cores: granted beyond the guarantee. device: the first.
    effective_share_percent: what the daemon's dispatch makes of the share now, on the device that has least of it."""

    name: str
    device: int
    devices: list[int] = Field(default_factory=list)
    cores: int
    burst_cores: int | None = None
    vector_cores: int | None = None
    memory_bytes: int
    share_percent: float | None = None
    effective_share_percent: float | None = None
    fixed_share: bool = False
    priority: int = 0
    revision: int
    phase: Literal["prefill", "decode"] | None = None
    owner_pid: int | None = None
    granted_cores: int
    granted_revision: int
    applied_revision: int
    applied: bool
    lent_cores: int = 0
    tenants: int
    use: list[VNpuUse] = Field(default_factory=list)


class QuotaChange(_Question):
    """What is not given stays. null takes burst_cores, vector_cores or share_percent away; for the others it counts as
    not given."""

    cores: int | None = Field(default=None, ge=1, le=MOST_CORES)
    memory_bytes: int | None = Field(default=None, ge=1, le=MOST_BYTES)
    burst_cores: int | None = Field(default=None, ge=1, le=MOST_CORES)
    vector_cores: int | None = Field(default=None, ge=1, le=MOST_CORES)
    share_percent: float | None = Field(default=None, gt=0, le=100)
    fixed_share: bool | None = None
    priority: int | None = Field(default=None, ge=0, le=7)


class QuotaState(_Answer):
    """Where a quota change stands."""

    vnpu: str
    revision: int
    applied: bool
    applied_after_s: float | None = None


class Move(_Question):
    """A vNPU after a rebalance; what is not given stays. null takes share_percent away; for the others it counts as not
    given."""

    vnpu: str
    cores: int | None = Field(default=None, ge=1, le=MOST_CORES)
    share_percent: float | None = Field(default=None, gt=0, le=100, description="of device time; null: all the time")
    priority: int | None = Field(default=None, ge=0, le=7, description="higher goes first")


class Rebalance(_Question):
    """Moves of one transaction: cores, and shares of time, go from some vNPUs to others."""

    moves: list[Move] = Field(min_length=1)


class RebalanceState(_Answer):
    """Where a rebalance stands; revisions by vNPU."""

    revisions: dict[str, int]
    applied: bool
    applied_after_s: float | None = None


class Graph(_Answer):
    """A captured graph; cube and vector cores at its capture."""

    device: int
    cores: int
    vector_cores: int
    replays: int


class Iteration(_Answer):
    """A serving engine's last step as its operators tell it; number: steps so far, context in tokens."""

    number: int
    phase: str
    requests: int
    new_tokens: int
    context_sum: int
    context_most: int
    graph: bool


class Tenant(_Answer):
    """A process on a vNPU; the numbers are what it says of itself, summed over its devices. present: false when it has
    not come back to this daemon after a restart. applied: it uses no grant older than the newest."""

    pid: int
    vnpu: str
    devices: list[int]
    present: bool
    applied: bool
    applied_revision: int
    memory_used: int
    memory_denied: int
    waited_s: float
    busy_s: float
    tiled: int
    launched: int
    ungoverned: int
    launches: dict[str, int]
    graphs: list[Graph]
    iteration: Iteration | None = None


class Step(Iteration):
    """A step of a serving engine that has begun: the data of a server-sent event. number: of those that began; ended:
    how many are over; context in tokens; at_s: CLOCK_MONOTONIC of the host."""

    vnpu: str
    pid: int
    ended: int
    at_s: float


class Event(_Answer):
    """Something that happened: the data of a server-sent event. at: seconds since 1970."""

    id: int
    at: float
    kind: Literal["attached", "left", "applied", "lent", "denied", "refused"]
    vnpu: str
    pid: int | None = None
    text: str


class Version(_Answer):
    """Three numbers that change apart from each other."""

    version: str
    page_version: int
    api_version: int


class Problem(_Answer):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    limit: int | None = None
    used: int | None = None
    requested: int | None = None
    next_step: str = ""
