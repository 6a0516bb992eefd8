# SPDX-License-Identifier: Apache-2.0
"""A request inside an engine: mutable, slotted, one object from arrival to finish."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.simulator.arrival import NEVER, Arrival, Finished


class Request:
    """State of one request.

    `target` tokens are to be computed before it decodes: the prompt, and after a preemption what it had generated too.
    `computed` of them are. `held` are its private KV blocks, `shared` the hash ids that it references.
    """

    __slots__ = (
        "arrival",
        "blocks",
        "cached",
        "computed",
        "finish_step",
        "first_token",
        "gaps",
        "generated",
        "held",
        "index",
        "join_step",
        "last_token",
        "length",
        "output",
        "preemptions",
        "prompt",
        "registered",
        "residue",
        "shared",
        "since",
        "slot",
        "target",
    )

    def __init__(self, index: int, arrival: Arrival, blocks: Sequence[int]) -> None:
        self.index = index
        self.arrival = self.since = arrival.seconds  # since when it waits
        self.prompt = self.target = arrival.prompt
        self.output = arrival.output
        self.blocks = blocks  # of full prompt blocks only
        self.computed = 0
        self.generated = 0
        self.first_token = self.last_token = NEVER
        self.cached = -1  # not admitted yet
        self.preemptions = 0
        self.held = 0
        self.registered = 0  # leading blocks that were looked up or entered in the prefix cache
        self.shared: list[int] = []
        self.join_step = self.finish_step = self.residue = self.length = self.slot = 0
        self.gaps: list[Floats] = []

    def token(self, now: float) -> None:
        """A token that came with the end of a prompt: the first one, or the one that a preemption had put off."""
        if self.generated == 0:
            self.first_token = now
        else:
            self.gaps.append(np.array([now - self.last_token]))
        self.last_token = now
        self.generated += 1

    def _gaps(self) -> Floats:
        if len(self.gaps) > 1:
            self.gaps = [np.concatenate(self.gaps)]
        return self.gaps[0]

    def itl_p99(self) -> float:
        """The nearest rank of the gaps between its tokens; 0 for a single token."""
        return self._slowest()[0]

    def _slowest(self) -> tuple[float, float]:
        """99th percentile and maximum of the gaps."""
        if not self.gaps:
            return 0.0, 0.0
        gaps = self._gaps()
        rank = -(-99 * gaps.size // 100) - 1
        if rank == gaps.size - 1:
            return (longest := _greatest(gaps)), longest
        gaps = gaps.copy()
        gaps.partition(rank)
        return gaps.item(rank), _greatest(gaps[rank:])

    def finished(self) -> Finished:
        """The record; `last_token` is its finish when all tokens are there."""
        complete = self.generated >= self.output
        between = self.generated - 1
        p99, longest = self._slowest()
        return Finished(
            arrival=self.arrival,
            first_token=self.first_token,
            finish=self.last_token if complete else NEVER,
            prompt=self.prompt,
            output=self.output,
            cached=max(self.cached, 0),
            itl_max=longest,
            itl_p99=p99,
            mean_tpot=(self.last_token - self.first_token) / between if between > 0 else 0.0,
            preemptions=self.preemptions,
            dropped=False,
            number=self.index,
        )


def _greatest(values: Floats) -> float:
    return values.item(values.argmax())


def dropped(index: int, arrival: Arrival) -> Finished:
    """The record of a request that no device can hold."""
    return Finished(
        arrival.seconds, NEVER, NEVER, arrival.prompt, arrival.output, 0, 0.0, 0.0, 0.0, 0, dropped=True, number=index
    )
