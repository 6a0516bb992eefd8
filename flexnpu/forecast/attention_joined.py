# SPDX-License-Identifier: Apache-2.0
"""Attention of an iteration where calls over a prompt and running requests together were measured, and asked for so.

Such a table has one prompt of q tokens after c, and d running requests of D cached keys in all. A batch is read from it
by sums that no token, key or request more makes less, and that are those of the table where there is one prompt:
c and q are all prompts' (or, if that takes less, c and the pairs are), d is one less than there are requests, and D has
the prompts' cached keys too as soon as there are two. Nor does a batch take less than running requests over all of
its keys. docs/forecast.md has why.
"""

from __future__ import annotations

import numpy as np

from flexnpu.forecast.attention_tabled import MeasuredAttention, reading_of
from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration_lattices import JoinedKnots, joined_knots, joined_seconds, pairs_of, tokens_of
from flexnpu.forecast.calibration_series import chosen
from flexnpu.forecast.contention import HALF
from flexnpu.forecast.lattice import Lattices
from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import OperatorModel
from flexnpu.forecast.workload import Attention

_Sums = tuple[float, float, float]
_PARTS = (0.75, 1.0)  # of powers of two: numbers of cores that are laid out


class JoinedAttention(MeasuredAttention):
    """Of one model on one device. Answers are seconds of all layers, as the extension's PlainAttention has them."""

    def __init__(self, operators: OperatorModel, attention: Attention) -> None:
        super().__init__(operators, attention)
        mixed = chosen(operators.profile.series, "mixed", {})
        assert mixed is not None
        self._mixed = mixed
        self._some = _cores_of(self._cores)
        # How every number of cores lies between those that are laid out; none is as one.
        wanted = np.log(np.maximum(np.arange(self._cores + 1), 1))
        places = np.log(self._some)
        self._weights = np.array([np.interp(wanted, places, line) for line in np.eye(len(places))]).T
        self._reading = reading_of(operators, attention)
        knots = joined_knots(mixed)
        self._by_tokens = self._laid_out(knots, knots.tokens)
        self._by_pairs = self._laid_out(knots._replace(cached=knots.cached[knots.cached <= knots.most_cached]), None)

    def seconds(self, load: Load, cores: int) -> float:
        """Alone on so many cores."""
        return self._entries(load, cores, 1)[0]

    def single(self, load: Load, cores: int) -> tuple[float, float, float]:
        """The same, beside a neighbour, and what its bytes take of the whole bandwidth."""
        alone, held, traffic = self._entries(load, cores, 3)
        return alone, held, traffic

    def by_cores(self, load: Load) -> tuple[Floats, Floats, float]:
        """The same by cores; what it says of none is to be ignored."""
        count = self._cores + 1
        row = self._reading.row(load.sequences, load.prefill_seen + load.decode_seen)
        alone, held, traffic = row[:count], row[count : 2 * count], row.item(-1)
        if load.prefill_sequences:
            logs, few = self._together(load), len(self._some)
            alone = np.maximum(alone, np.exp(self._weights @ logs[:few]))
            held = np.maximum(held, np.exp(self._weights @ logs[few : 2 * few]))
            traffic = max(traffic, float(np.exp(logs[-1])))
        return alone, held, traffic

    def steps(self, load: Load, cores: int, seen: Floats) -> Floats:
        """Seconds alone, by the keys that running requests read."""
        if not load.tokens:
            return np.zeros(len(seen))
        total = self._reading.along(load.sequences, seen + load.prefill_seen, cores)
        if not load.prefill_sequences:
            return total
        first, second, more = self._sums(load)
        keys, alone = seen + more, slice(0, len(self._some))
        logs = np.minimum(self._by_tokens.along(first, keys, alone), self._by_pairs.along(second, keys, alone))
        found: Floats = np.maximum(total, np.exp(logs @ self._weights[cores]))
        return found

    def _entries(self, load: Load, cores: int, most: int) -> list[float]:
        if not load.tokens:
            return [0.0] * most
        places = [cores, self._cores + 1 + cores, 2 * self._cores + 2][:most]
        found = self._reading.entry(load.sequences, load.prefill_seen + load.decode_seen, *places)
        if not load.prefill_sequences:
            return found
        logs, weights, few = self._together(load), self._weights[cores], len(self._some)
        told = [weights @ logs[:few], weights @ logs[few : 2 * few], logs[-1]][:most]
        return [max(one, float(other)) for one, other in zip(found, np.exp(told).tolist(), strict=True)]

    def _together(self, load: Load) -> Floats:
        """Logarithms of one call over all requests, by the cores that are laid out."""
        first, second, more = self._sums(load)
        keys = load.decode_seen + more
        found: Floats = np.minimum(self._by_tokens.row(*first, keys), self._by_pairs.row(*second, keys))
        return found

    @staticmethod
    def _sums(load: Load) -> tuple[_Sums, _Sums, float]:
        """What both tables are asked for, but the last: keys of running requests, and what is added to them there."""
        tokens, sequences, pairs, keys, running, _, _ = load
        cached, requests = keys - tokens, sequences + running
        more = cached - running if sequences > 1.0 else -running
        return (cached, tokens, requests), (cached, pairs, requests), more

    def _laid_out(self, knots: JoinedKnots, tokens: Floats | None) -> Lattices:
        """Seconds by cached keys, tokens (or pairs), requests and keys of running ones: rising along all of them."""
        axes = (knots.cached, knots.pairs if tokens is None else tokens, knots.requests, knots.read)
        mesh = np.meshgrid(*axes, indexing="ij")
        cached, new, requests, read = (each.reshape(-1, 1) for each in mesh)
        if tokens is None:
            new = tokens_of(cached, new)
        sums = (cached, new, requests - 1.0, read)
        whole = joined_seconds(self._mixed, self._operators.soc, knots, mesh[0].shape, sums)
        alone, held, traffic = self._shaped(*sums)
        factor = np.maximum(whole.reshape(-1, 1), self._least(*sums)) / alone[:, -1:]
        rows = self._attention.times * np.hstack([alone * factor, np.maximum(alone, held) * factor, traffic])
        # Pairs tell what more cached keys than were measured take: they are those of several prompts, mostly.
        logs = np.log(rows.reshape(*mesh[0].shape, -1))
        return Lattices(axes, logs, len(self._some), ends=(0,) if tokens is None else ())

    def _shaped(self, cached: Floats, new: Floats, running: Floats, read: Floats) -> tuple[Floats, Floats, Floats]:
        """The roofline, by the cores that are laid out: how times change with cores and beside a neighbour."""
        work, sheet = self._attention, self._sheet
        sums = (np.ones_like(new), pairs_of(new, cached), new, new + cached)
        context = work.context_sums(sheet, sums, self._some)
        generation = work.generation(sheet, running, running + read, self._some)
        there = np.minimum(running, 1.0)
        alone, held = (sheet.seconds(context, left) + there * sheet.seconds(generation, left) for left in (1.0, HALF))
        return np.asarray(alone), np.asarray(held), np.asarray(context.traffic + there * generation.traffic)

    def _least(self, cached: Floats, new: Floats, running: Floats, read: Floats) -> Floats:
        """Seconds of the whole device."""
        work = self._attention
        pair = 4.0 * work.heads * work.head_dim
        pairs = pairs_of(new, cached) + (running + read) / 2.0  # a cache in 8 bits
        moved = (new + running) * pair + (new + cached + running + read) * work.cached_bytes
        return np.asarray(self._operators.least(pairs * pair, moved))


def _cores_of(most: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    counts = {int(part * 2**power) for power in range(most.bit_length()) for part in _PARTS}
    return np.array(sorted({each for each in counts if 1 <= each < most} | {most}), dtype=np.int64)
