# SPDX-License-Identifier: Apache-2.0
"""What crosses the admin socket, in both directions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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
    device: int = Field(default=0, ge=0, le=MOST_CORES)
    cores: int = Field(ge=1, le=MOST_CORES)
    memory_bytes: int = Field(ge=1, le=MOST_BYTES)
    phase: Literal["prefill", "decode"] | None = None
    owner_pid: int | None = Field(default=None, ge=1, lt=2**31)


class VNpu(_Answer):
    """cores, memory_bytes, revision: as registered. granted: published to its tenants. applied: in force in all."""

    name: str
    device: int
    cores: int
    memory_bytes: int
    revision: int
    phase: Literal["prefill", "decode"] | None = None
    owner_pid: int | None = None
    granted_cores: int
    granted_revision: int
    applied_revision: int
    applied: bool
    tenants: int


class QuotaChange(_Question):
    """What is not given stays."""

    cores: int | None = Field(default=None, ge=1, le=MOST_CORES)
    memory_bytes: int | None = Field(default=None, ge=1, le=MOST_BYTES)


class QuotaState(_Answer):
    """Where a quota change stands."""

    vnpu: str
    revision: int
    applied: bool
    applied_after_s: float | None = None


class Move(_Question):
    """A vNPU's cores after a rebalance."""

    vnpu: str
    cores: int = Field(ge=1, le=MOST_CORES)


class Rebalance(_Question):
    """Moves of one transaction."""

    moves: list[Move] = Field(min_length=1)


class RebalanceState(_Answer):
    """Where a rebalance stands; revisions by vNPU."""

    revisions: dict[str, int]
    applied: bool
    applied_after_s: float | None = None


class Tenant(_Answer):
    """A process on a vNPU; the numbers are what it says of itself. present: false when it has not come back to this
    daemon after a restart."""

    pid: int
    vnpu: str
    device: int
    present: bool
    seen_revision: int
    applied_revision: int
    memory_used: int
    memory_peak: int
    memory_denied: int
    tiled: int
    launched: int
    ungoverned: int
    launches: dict[str, int]


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
