# SPDX-License-Identifier: Apache-2.0
"""Which tokens of which prompts an iteration takes: prompts in order, each as far as the budget reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from flexnpu.forecast import Request
from flexnpu.forecast.batch import Batch
from flexnpu.forecast.load import Load
from flexnpu.planner.snapshot import Requests, Snapshot


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


def ordered(snapshot: Snapshot, order: tuple[int, ...] | None = None) -> Iterator[Request]:
    """The prompts as a plan's `order` has them: those named, then the others as they came."""
    at = _reader(snapshot.prefill)
    count = snapshot.prompts
    return (at(index) for index in (range(count) if order is None else _completed(order, count)))


def tokens_of(requests: Iterable[Request]) -> int:
    return sum(new * copies for new, _, copies in requests)


def together(decode: Requests, prompts: Sequence[Request]) -> Requests:
    """Running requests and prompts as one batch."""
    if not prompts:
        return decode
    if isinstance(decode, Load):
        return decode.plus(Load.of(prompts))
    if isinstance(decode, Batch):
        more = Batch.of(prompts)
        pairs = ((decode.new, more.new), (decode.cached, more.cached), (decode.copies, more.copies))
        return Batch(*(np.concatenate(pair) for pair in pairs))
    return (*decode, *prompts)


def _completed(order: tuple[int, ...], count: int) -> Iterator[int]:
    yield from order
    named = set(order)
    yield from (index for index in range(count) if index not in named)


def _reader(prefill: Batch | Sequence[Request]) -> Callable[[int], Request]:
    if not isinstance(prefill, Batch):
        return prefill.__getitem__
    new, cached, copies = prefill.new, prefill.cached, prefill.copies
    return lambda index: Request(int(new[index]), int(cached[index]), int(copies[index]))
