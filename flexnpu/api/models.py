# SPDX-License-Identifier: Apache-2.0
"""What crosses the admin socket, in both directions."""

from __future__ import annotations

from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

API_VERSION = 1

MOST_CORES = 0xFFFF  # what the control page's quota word can say
MOST_BYTES = 2**50
MOST_MOVES = 256  # of one rebalance; an operation's id has to name them all

EventKind = Literal[
    "created",
    "changed",
    "applied",
    "lent",
    "deleted",
    "attached",
    "left",
    "denied",
    "refused",
    "decided",
    "resync",
]

_Item = TypeVar("_Item")


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_ABSENT: Any = None


def _without_default(schema: dict[str, Any]) -> None:
    """Of a field that may be left out, and has no value then."""
    del schema["default"]


class Page(_Answer, Generic[_Item]):
    """A part of a list. next_cursor: what the next request says to go on; null at the end."""

    items: list[_Item]
    next_cursor: str | None = None


class Device(_Answer):
    """A device, and the environment that brings a process to it (LD_LIBRARY_PATH: to be prepended). uuid: the same
    after every restart. trouble: why no program can use it; null: none is known."""

    index: int
    uuid: str = ""
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
    numa_node: int | None = None
    trouble: str | None = None
    environment: dict[str, str]


class NewVNpu(_Question):
    """A vNPU to be made; with owner_pid it ends with that process."""

    name: str = Field(max_length=256)
    device: int | None = Field(default=None, ge=0, le=MOST_CORES, description="one device; 0 when none is named")
    devices: list[int] | None = Field(default=None, min_length=1, description="several, as the program counts them")
    cores: int = Field(ge=1, le=MOST_CORES)
    memory_bytes: int = Field(ge=1, le=MOST_BYTES)
    burst_cores: int | None = Field(default=None, ge=1, le=MOST_CORES, description="null: no more than cores")
    vector_cores: int | None = Field(default=None, ge=1, le=MOST_CORES, description="null: in proportion to the cores")
    share_percent: float | None = Field(default=None, ge=0.01, le=100, description="of device time; null: all the time")
    fixed_share: bool = Field(default=False, description="never more than the share, even alone")
    priority: int = Field(default=0, ge=0, le=7, description="higher goes first")
    phase: Literal["prefill", "decode"] | None = None
    owner_pid: int | None = Field(default=None, ge=1, lt=2**31)
    labels: dict[str, str] = Field(default_factory=dict, max_length=16, description="what others know it by")
    attach_dirs: list[str] = Field(
        default_factory=list,
        max_length=4,
        description="folders of the daemon's user; each gets an attach.sock of this vNPU alone, for whoever reaches it",
    )

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
    """id: never used twice in a registry. cores, memory_bytes, revision: as registered, on each device. granted:
    published to its tenants, on the device that is least far. applied: in force in all. lent_cores: granted beyond the
    guarantee. device: the first. effective_share_percent: what the daemon's dispatch makes of the share now, on the
    device that has least of it."""

    id: int = 0
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
    labels: dict[str, str] = Field(default_factory=dict)
    attach_dirs: list[str] = Field(default_factory=list)
    use: list[VNpuUse] = Field(default_factory=list)


class VNpuChange(_Question):
    """A merge patch: what is not given stays; null takes the phase, or a label, away. The quota has an address of its
    own."""

    phase: Literal["prefill", "decode"] | None = None
    labels: dict[str, str | None] = Field(default_factory=dict, max_length=32)


class QuotaChange(_Question):
    """A merge patch (RFC 7396): what is not given stays. null takes away what a vNPU can be without, and gives back the
    default of fixed_share and priority."""

    cores: int = Field(default=_ABSENT, ge=1, le=MOST_CORES, json_schema_extra=_without_default)
    memory_bytes: int = Field(default=_ABSENT, ge=1, le=MOST_BYTES, json_schema_extra=_without_default)
    burst_cores: int | None = Field(default=None, ge=1, le=MOST_CORES)
    vector_cores: int | None = Field(default=None, ge=1, le=MOST_CORES)
    share_percent: float | None = Field(default=None, ge=0.01, le=100)
    fixed_share: bool | None = None
    priority: int | None = Field(default=None, ge=0, le=7)


class QuotaState(_Answer):
    """A vNPU's quota, on each of its devices, and how far it is in force.

    desired_revision: of this quota; the ETag. observed_revision: the newest that is in force in all of its tenants.
    applied: observed is desired. applied_after_s: from the change to that. operation: who waits for it asks there;
    null when it is applied.
    """

    vnpu: str
    cores: int
    memory_bytes: int
    burst_cores: int | None
    vector_cores: int | None
    share_percent: float | None
    fixed_share: bool
    priority: int
    desired_revision: int
    observed_revision: int
    applied: bool
    applied_after_s: float | None = None
    operation: str | None = None


class Operation(_Answer):
    """A change that was accepted and may not be in force yet. revisions: that it is to bring, by vNPU. done: all of
    them are in force, or later ones are; applied_after_s: how long the newest took."""

    id: str
    revisions: dict[str, int]
    done: bool
    applied_after_s: float | None = None


class Move(_Question):
    """A vNPU after a rebalance; what is not given stays. null takes share_percent away; for the others it counts as not
    given."""

    vnpu: str
    cores: int | None = Field(default=None, ge=1, le=MOST_CORES)
    share_percent: float | None = Field(default=None, ge=0.01, le=100, description="of device time; null: all the time")
    priority: int | None = Field(default=None, ge=0, le=7, description="higher goes first")


class Rebalance(_Question):
    """Moves of one transaction: cores, and shares of time, go from some vNPUs to others."""

    moves: list[Move] = Field(min_length=1, max_length=MOST_MOVES)


class RebalanceState(_Answer):
    """Where a rebalance stands; revisions by vNPU. dry_run: those that it would bring, and nothing is changed.
    operation: who waits for it asks there; null when it is applied."""

    revisions: dict[str, int]
    applied: bool
    applied_after_s: float | None = None
    dry_run: bool = False
    operation: str | None = None


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
    """Something that happened: the data of a server-sent event. id: the node's revision, which rises with each event
    and is never used twice, not by later daemons either. at: seconds since 1970. revision: of the vNPU's quota.

    resync: the reader has missed events that are not known any more, and should read again what it keeps.
    """

    id: int
    at: float
    kind: EventKind
    vnpu: str
    pid: int | None = None
    revision: int | None = None
    text: str


class Version(_Answer):
    """Three numbers that change apart from each other."""

    version: str
    page_version: int
    api_version: int


class Problem(_Answer):
    """An error (RFC 9457). code: its class in flexnpu.errors. instance: the request, by its X-Request-Id. limit, used,
    requested: where it is about amounts. next_step: what helps."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    code: str
    limit: int | None = None
    used: int | None = None
    requested: int | None = None
    next_step: str = ""
