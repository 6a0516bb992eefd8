# SPDX-License-Identifier: Apache-2.0
"""Which tokens of which prompts an iteration takes: prompts in order, each as far as the budget reaches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flexnpu._native import reach
from flexnpu.forecast import Request
from flexnpu.forecast.batch import Batch
from flexnpu.forecast.load import Load
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot


def chunk(snapshot: Snapshot, tokens: float, order: tuple[int, ...] | None = None) -> list[Request]:
    """What the first prompts bring to an iteration that has room for `tokens`."""
    taken: list[Request] = []
    for request in ordered(snapshot, order):
        if tokens < 1:
            break
        new, cached, copies = request
        whole = min(copies, int(tokens // new))
        if whole:
            taken.append(Request(new, cached, whole))
            tokens -= whole * new
        if whole < copies and tokens >= 1:
            taken.append(Request(int(tokens), cached))
            break
    return taken


def chunk_load(snapshot: Snapshot, forecaster: PhaseForecaster, tokens: float) -> Load:
    """The sums of `chunk` in order of arrival, without a loop where nobody stands for several."""
    prefill = Batch.of(snapshot.prefill)
    reached = reach(prefill.new, prefill.copies, tokens)
    if reached is None:
        return forecaster.load(chunk(snapshot, tokens))
    count, over = reached
    new = prefill.new[:count]
    if over:
        new = new.copy()
        new[-1] = over
    return forecaster.load(Batch(new, prefill.cached[:count], prefill.copies[:count]))


def ordered(snapshot: Snapshot, order: tuple[int, ...] | None = None) -> Iterator[Request]:
    """The prompts as a plan's `order` has them: those named, then the others as they came."""
    prompts, count = snapshot.prefill, snapshot.prompts
    return (prompts[index] for index in (range(count) if order is None else _completed(order, count)))


def tokens_of(requests: Iterable[Request]) -> int:
    return sum(new * copies for new, _, copies in requests)


def _completed(order: tuple[int, ...], count: int) -> Iterator[int]:
    yield from order
    named = set(order)
    yield from (index for index in range(count) if index not in named)
