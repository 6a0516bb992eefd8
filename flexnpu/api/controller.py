# SPDX-License-Identifier: Apache-2.0
"""What a controller tells the daemon of itself, so that others can read it there. Records of decisions may have more
fields than are named here: a controller may be newer than the daemon."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from flexnpu.api.models import MOST_CORES

MOST_RECORDS = 64  # of one request

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Text = Annotated[str, Field(max_length=4096)]
Number = Annotated[int, Field(ge=0, lt=2**53)]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class ControlledService(_Told):
    """A service and its targets, in seconds of device time. prefill, decode, engines: its vNPUs by role."""

    name: Name
    model: Text
    ttft_s: float = Field(gt=0, lt=1e6)
    itl_s: float = Field(gt=0, lt=1e6)
    weight: float = Field(default=1.0, gt=0, lt=1e6)
    prefill: list[Name] = Field(default_factory=list, max_length=64)
    decode: list[Name] = Field(default_factory=list, max_length=64)
    engines: list[Name] = Field(default_factory=list, max_length=64)


Reason = Literal["prefill", "decode", "both", "idle", "pinned", "safe"]
Result = Literal["applied", "late", "refused", "withheld"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
RESULTS: Final[tuple[Result, ...]] = get_args(Result)
Amount = Annotated[float, Field(ge=0, lt=2**53)]


class Histogram(_Told):
    """counts: at most as large as each bound, and larger than the one before; then what is larger than all. sum: of all
    that was observed."""

    bounds: list[float] = Field(max_length=64)
    counts: list[Amount] = Field(max_length=65)
    sum: Amount = 0.0

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.counts) != len(self.bounds) + 1 or sorted(set(self.bounds)) != self.bounds:
            raise ValueError("bounds must rise, and counts be one more than bounds")
        return self


class DecisionTotals(_Told):
    """Decisions on a device, of one reason: which phases had work, or that cores were pinned, or safe for want of an
    observation. moves: those that moved cores, by what came of it: applied; late: not applied yet when the controller
    went on; refused by the daemon; withheld by a controller that moves nothing."""

    device: int = Field(ge=0, le=MOST_CORES)
    reason: Reason
    decisions: Number
    moves: dict[Result, Number] = Field(default_factory=dict)


class ServiceTotals(_Told):
    """What a service was seen to do. first_tokens: prompts that were answered; output_tokens: those after the first of
    a request. in_time: within the target, as far as the engine's histogram tells. forecast_errors: by phase, how far an
    iteration was from its forecast, as a part of that."""

    service: Name
    first_tokens: Amount = 0.0
    first_tokens_in_time: Amount = 0.0
    output_tokens: Amount = 0.0
    output_tokens_in_time: Amount = 0.0
    forecast_errors: dict[Literal["prefill", "decode"], Histogram] = Field(default_factory=dict)


class ControllerTotals(_Told):
    """Since the controller began."""

    decisions: list[DecisionTotals] = Field(default_factory=list, max_length=1024)
    services: list[ServiceTotals] = Field(default_factory=list, max_length=64)


class ControllerState(BaseModel):
    """moves: whether it moves cores, or says only what it would do. config: the rest of its options. It tells it again
    within renew_within_s, or is taken for dead. totals: what it has counted so far."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    mode: Name
    moves: bool
    devices: list[Annotated[int, Field(ge=0, le=MOST_CORES)]] = Field(min_length=1, max_length=64)
    services: list[ControlledService] = Field(max_length=64)
    config: dict[str, JsonValue] = Field(default_factory=dict, max_length=64)
    renew_within_s: float = Field(default=15.0, ge=0.1, le=3600)
    totals: ControllerTotals = Field(default_factory=ControllerTotals)


class Controller(ControllerState):
    """A controller that is or was here. live: it has told its state in time. since, renewed_at: seconds since 1970.
    decisions: how many it has told of. who: the process, token or certificate that tells it."""

    name: str
    live: bool
    since: float
    renewed_at: float
    decisions: int
    who: dict[str, str | int]


class GrantRecord(_Told):
    """What a vNPU has: cores, and a share of the device's time (null: all of it)."""

    cores: int = Field(ge=0, le=MOST_CORES)
    share_percent: float | None = None


class ServiceRecord(_Told):
    """A decision's part for one service: what was seen, what was forecast for its choice, what else was weighed."""

    service: Name
    mode: Name
    grants: dict[str, GrantRecord] = Field(max_length=256)
    phases: dict[str, str] = Field(default_factory=dict, max_length=256)
    inputs: dict[str, JsonValue] = Field(default_factory=dict, max_length=256)
    reason: Text
    meets_itl: bool | None = None
    forecast: dict[str, JsonValue] | None = None
    alternatives: list[dict[str, JsonValue]] = Field(default_factory=list, max_length=256)


class DecisionRecord(_Told):
    """A decision of a controller, by its own number. before, after: by vNPU. moved: they differ."""

    number: Number
    device: int = Field(ge=0, le=MOST_CORES)
    mode: Name
    before: dict[str, GrantRecord] = Field(max_length=256)
    after: dict[str, GrantRecord] = Field(max_length=256)
    moved: bool
    reason: Text
    services: list[ServiceRecord] = Field(default_factory=list, max_length=64)


class OutcomeRecord(_Told):
    """What came to a service while a decision held, beside what was forecast."""

    decision: Number
    service: Name


class NewRecords(BaseModel):
    """Decisions, and outcomes of these or earlier ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    decisions: list[DecisionRecord] = Field(default_factory=list, max_length=MOST_RECORDS)
    outcomes: list[OutcomeRecord] = Field(default_factory=list, max_length=MOST_RECORDS)


class Decision(DecisionRecord):
    """As the daemon keeps it. id: never used twice. told_at: seconds since 1970."""

    id: int
    controller: str
    told_at: float
    outcomes: list[OutcomeRecord] = Field(default_factory=list)


class RecordsKept(BaseModel):
    """decisions: their ids. outcomes: how many were of decisions that are known still."""

    decisions: list[int]
    outcomes: int
