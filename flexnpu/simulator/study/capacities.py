# SPDX-License-Identifier: Apache-2.0
"""Every policy's capacity on every load, model, device and SLO of the study; who wins, and by what the others lose.

A cell's answers are rates per device, so that a policy that needs a prefill and a decode device (layout "n:m") is set
beside those that need one: it runs on two, and its rate is halved.

Requests that take over nine tenths of a target even when they hardly meet others (a prompt of 100,000 tokens has no
first token within 500 ms on one device) are left out of the load; the cell says how many are left. With them no policy
would reach 90 %, and to search for 90 % of what is reachable would reward who serves the short ones alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from flexnpu.forecast import Forecaster
from flexnpu.planner import POLICIES, Policy
from flexnpu.simulator.arrival import Arrival, Finished
from flexnpu.simulator.capacity import HIGHEST, LOWEST, STEPS, Answer, Point, Search
from flexnpu.simulator.run import Setup, config_for, run
from flexnpu.simulator.slo import Slo
from flexnpu.simulator.study.kept import Kept
from flexnpu.simulator.traces import Trace

ATTAINMENTS = (0.9, 0.99)
OURS = "flexnpu"
BASE = "chunked"  # sets the rates of a phase change's parts, and what can be reached at all
_ROOM = 0.9  # of a target; who needs more alone has none left for anybody beside it
_FEWEST = 20  # requests that make a load
NOTHING = Kept()
_TIE = 2 ** (1.5 / STEPS)  # rates this near cannot be told apart: the grid's step is smaller, and traces are bursty


@dataclass(frozen=True, slots=True)
class Place:
    """Where the loads run: a model on a device under an SLO."""

    model: str
    device: str
    slo: Slo
    forecaster: Forecaster
    forecast: str  # where its constants come from


@dataclass(frozen=True, slots=True)
class Load:
    """A trace. `parts`: loads of the same place that it is a change between."""

    name: str
    trace: Trace
    parts: tuple[str, ...] = ()


@dataclass(slots=True)
class Cell:
    """What one load gives at one place."""

    load: str
    place: Place
    kept: int  # requests that the base policy serves within the targets at the lowest rate: the load
    left_out: int  # the others
    rates: dict[str, tuple[Answer, ...]] = field(default_factory=dict)  # by policy, per device
    lost: dict[str, tuple[Point | None, ...]] = field(default_factory=dict)  # each at the winner's rate

    def rate(self, policy: str, which: int) -> float:
        """Requests per second and device; 0 where no rate was met."""
        return self.rates[policy][which].rate or 0.0

    def best(self, which: int) -> float:
        return max(self.rate(policy, which) for policy in self.rates)

    def winners(self, which: int) -> list[str]:
        """All that cannot be told apart from the best; none where nobody meets any rate."""
        best = self.best(which)
        return [policy for policy in self.rates if best > 0 and self.rate(policy, which) * _TIE >= best]

    @property
    def part(self) -> float:
        return self.kept / (self.kept + self.left_out)


class Study(NamedTuple):
    """What is to be run."""

    places: Sequence[Place]
    loads: Sequence[Load]
    policies: Sequence[str]


def cells(study: Study) -> Iterator[Cell]:
    """All cells; those of a place come together, since a phase change needs the capacities of its parts."""
    for place in study.places:
        yield from place_cells(place, study.loads, study.policies)


def place_cells(place: Place, loads: Sequence[Load], policies: Sequence[str], kept: Kept = NOTHING) -> Iterator[Cell]:
    """The cells of one place, in the order of `loads`; those that are `kept` are not worked out again."""
    served: dict[str, float] = {}
    for load in loads:
        trace = _balanced(load, served) if load.parts else load.trace
        key = f"{place.model} {place.device} {place.slo} {load.name} {trace.parts} {policies}"
        cell = _unpacked(load.name, place, kept.get(key, lambda: _packed(_cell(load.name, place, trace, policies))))  # noqa: B023 - called at once
        step = cell.rates[BASE][0].step if BASE in cell.rates else None
        served[load.name] = 1.0 if step is None else 2 ** (step / STEPS)
        yield cell


def _packed(cell: Cell) -> dict[str, Any]:
    """What is kept of a cell."""
    return {"kept": cell.kept, "left_out": cell.left_out, "rates": cell.rates, "lost": cell.lost}


def _unpacked(load: str, place: Place, packed: dict[str, Any]) -> Cell:
    rates = {policy: tuple(Answer(*each) for each in answers) for policy, answers in packed["rates"].items()}
    lost = {policy: tuple(map(_point, points)) for policy, points in packed["lost"].items()}
    return Cell(load, place, packed["kept"], packed["left_out"], rates, lost)


def _point(fields: Sequence[Any] | None) -> Point | None:
    if fields is None:
        return None
    *others, missed = fields
    return Point._make([*others, tuple((why, count) for why, count in missed)])


def _balanced(load: Load, served: Mapping[str, float]) -> Trace:
    """Each part at the rate that the base policy can serve of it alone, so that both phases of the change are heavy."""
    factors = [served[part] for part in load.parts]
    parts = zip(load.trace.parts, factors, strict=True)
    return Trace(tuple(replace(part, rate_scale=part.rate_scale * factor) for part, factor in parts))


def _cell(name: str, place: Place, trace: Trace, policies: Sequence[str]) -> Cell:
    everything = list(trace)
    arrivals = possible_requests(place, everything)
    cell = Cell(name, place, len(arrivals), len(everything) - len(arrivals))
    if len(arrivals) < _FEWEST:
        cell.rates = {policy: (Answer(part, None, None, None),) * 2 for policy in policies for part in ATTAINMENTS}
        cell.lost = dict.fromkeys(policies, (None, None))
        return cell
    rate = (len(arrivals) - 1) / (arrivals[-1].seconds - arrivals[0].seconds)
    searches: dict[str, Search] = {}
    start = 0
    for policy in policies:
        search = searches[policy] = _search(policy, place, arrivals, rate)
        extra = _extra(search.policy)
        answers = search.answers(ATTAINMENTS, min(max(start + extra, LOWEST), HIGHEST))
        cell.rates[policy] = tuple(_per_device(answer, extra) for answer in answers)
        if answers[0].step is not None:
            start = answers[0].step - extra
    _see_who_loses(cell, searches)
    return cell


def possible_requests(place: Place, arrivals: Sequence[Arrival]) -> list[Arrival]:
    """The requests that meet nine tenths of the targets when they come so seldom that they hardly meet."""
    slow = 2 ** (LOWEST / STEPS)
    strict = Slo(place.slo.ttft * _ROOM, place.slo.itl * _ROOM, place.slo.itl_by)
    good: list[int] = []

    def each(request: Finished) -> None:
        if request.completed and not any(strict.misses(request)):
            good.append(request.number)

    search = _search(BASE, place, arrivals, 1.0)
    run((a._replace(seconds=a.seconds / slow) for a in arrivals), search.policy, search.setup, each=each, watched=False)
    return [arrivals[number] for number in sorted(good)]


def _see_who_loses(cell: Cell, searches: Mapping[str, Search]) -> None:
    """What each loser misses at the best rate, which says why it loses."""
    tops = []
    for which in range(len(ATTAINMENTS)):
        steps = [answers[which].step for answers in cell.rates.values()]
        tops.append(max((step for step in steps if step is not None), default=None))
    for policy, search in searches.items():
        extra = _extra(search.policy)
        cell.lost[policy] = tuple(
            None if top is None or policy in cell.winners(which) else search.point(top + extra)
            for which, top in enumerate(tops)
        )


def _per_device(answer: Answer, extra: int) -> Answer:
    share = 2 ** (extra / STEPS)
    rate, missed = (None if each is None else each / share for each in (answer.rate, answer.missed_at))
    return Answer(answer.attainment, rate, missed, None if answer.step is None else answer.step - extra)


def _extra(policy: Policy) -> int:
    """Steps of the grid that a policy with a device for each phase is ahead by having two: a doubling."""
    return STEPS if _two(policy) else 0


def _two(policy: Policy) -> bool:
    return ":" in policy.layout


def _search(name: str, place: Place, arrivals: Sequence[Arrival], rate: float) -> Search:
    policy = POLICIES[name]()
    pool = (1, 1) if _two(policy) else (1, 0)
    setup = Setup(place.forecaster, place.slo, config_for(place.slo, devices=pool))
    return Search(arrivals, rate, policy, setup, early=True)


# --- what the cells say -----------------------------------------------------------------------------------------------


def why(cell: Cell, which: int) -> str:
    """The winner, its lead, and what the next ones miss at the winner's rate."""
    winners = cell.winners(which)
    if not winners:
        return "no policy meets any rate"
    best = max(winners, key=lambda policy: cell.rate(policy, which))
    others = sorted((p for p in cell.rates if p not in winners), key=lambda policy: -cell.rate(policy, which))
    text = " = ".join([best, *(each for each in winners if each != best)])
    if others and cell.rate(others[0], which) > 0:
        text += f", {cell.best(which) / cell.rate(others[0], which) - 1:+.0%} over {others[0]}"
    losses = [f"{policy} {_loss(cell.lost[policy][which])}" for policy in others[:3]]
    return f"{text}; at its rate {', '.join(losses)}" if losses else text


def _loss(point: Point | None) -> str:
    if point is None:
        return "was not run"
    missed = dict(point.missed)
    total = sum(missed.values())
    if not total:
        return "misses nothing"
    late, slow = missed["ttft"] + missed["both"], missed["itl"] + missed["both"]
    parts = [f"{count / total:.0%} {name}" for name, count in (("TTFT", late), ("ITL", slow)) if count]
    return f"misses {1 - point.attainment:.0%} (of them {' and '.join(parts)})"


def tally(found: Sequence[Cell]) -> dict[str, Any]:
    """How often ours is the best or cannot be told apart from it, and where it is not."""
    contests = [
        (cell, which) for cell, which in itertools.product(found, range(len(ATTAINMENTS))) if cell.winners(which)
    ]
    lost = [(cell, which) for cell, which in contests if OURS not in cell.winners(which)]
    return {
        "contests": len(contests),
        "ours_best": len(contests) - len(lost),
        "nobody": len(found) * len(ATTAINMENTS) - len(contests),
        "lost": [
            {"load": cell.load, "model": cell.place.model, "device": cell.place.device, "slo": str(cell.place.slo),
             "attainment": ATTAINMENTS[which], "why": why(cell, which)}
            for cell, which in lost
        ],
    }  # fmt: skip


def as_json(cell: Cell) -> dict[str, Any]:
    """A cell as the bench's JSON has it."""
    return {
        "load": cell.load,
        "model": cell.place.model,
        "device": cell.place.device,
        "forecast": cell.place.forecast,
        "slo": {"ttft": cell.place.slo.ttft, "itl": cell.place.slo.itl},
        "requests": cell.kept,
        "left_out": cell.left_out,
        "attainments": list(ATTAINMENTS),
        "requests_per_s_and_device": {policy: [a.rate for a in answers] for policy, answers in cell.rates.items()},
        "winners": [cell.winners(which) for which in range(len(ATTAINMENTS))],
        "why": [why(cell, which) for which in range(len(ATTAINMENTS))],
    }
