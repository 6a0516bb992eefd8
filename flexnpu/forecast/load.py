# SPDX-License-Identifier: Apache-2.0
"""What one iteration runs, as sums over its requests: all that a forecast needs, and additive.

An engine keeps the sums as requests come, grow and go, so that a forecast costs the same for one request and for a
thousand. Batch and Request are the forms with one entry per request.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import sub
from typing import NamedTuple

from flexnpu._native import sums
from flexnpu.forecast.batch import Batch, Request

_FEW = 48  # requests that are added up one by one sooner than as arrays


class Load(NamedTuple):
    """Sums over the requests of one iteration. q are a request's new tokens, c its cached ones.

    A request with one new token decodes; with more it runs a prompt or a part of one. Attention is causal: new token
    i sees c + i keys, so q of them make q c + q (q + 1) / 2 pairs of a query and a key.
    """

    prefill_tokens: float = 0.0  # sum of q over requests that run a prompt
    prefill_sequences: float = 0.0
    prefill_pairs: float = 0.0  # sum of q c + q (q + 1) / 2
    prefill_seen: float = 0.0  # sum of q + c: keys and values read
    decode_sequences: float = 0.0  # requests with one new token
    decode_seen: float = 0.0  # sum of c + 1
    logits: float = 0.0  # sequences whose last token's logits are wanted

    @classmethod
    def decode(cls, sequences: float, seen: float) -> Load:
        """Running requests that make one token each; `seen` keys in all, the new ones included."""
        return cls(decode_sequences=sequences, decode_seen=seen, logits=sequences)

    @classmethod
    def prefill(cls, new: float, cached: float = 0.0, *, logits: float = 1.0) -> Load:
        """One prompt, or the next `new` tokens of one; logits=0 when they are not its last."""
        return cls(new, 1.0, new * cached + new * (new + 1) / 2, new + cached, logits=logits)

    @classmethod
    def of(cls, requests: Iterable[Request] | Batch | Load, window: int | None = None) -> Load:
        """The sums of those requests, attention looking back at most `window` tokens. A Load passes as it is."""
        if isinstance(requests, Load):
            return requests
        if window is None and not isinstance(requests, Batch):
            requests = tuple(requests)
            found = _running(requests) or (_few(requests) if len(requests) <= _FEW else None)
            if found is not None:
                return found
        batch = Batch.of(requests)
        return sums(batch.new, batch.cached, batch.copies, window)

    def plus(self, other: Load) -> Load:
        """Both in one iteration."""
        one, two, three, four, five, six, seven = self
        tokens, sequences, pairs, seen, decodes, keys, logits = other
        # Not by Load(...), which takes as long again: a plan does it for every forecast.
        sums = one + tokens, two + sequences, three + pairs, four + seen, five + decodes, six + keys, seven + logits
        return tuple.__new__(Load, sums)

    def minus(self, other: Load) -> Load:
        """Without what `other` is: a request that leaves."""
        return Load(*map(sub, self, other))

    def __add__(self, other: object) -> Load:  # sums, not a longer tuple
        return self.plus(other) if isinstance(other, Load) else NotImplemented

    def __sub__(self, other: object) -> Load:
        return self.minus(other) if isinstance(other, Load) else NotImplemented

    @property
    def tokens(self) -> float:
        """New tokens: rows of every token-level operator."""
        return self.prefill_tokens + self.decode_sequences

    @property
    def sequences(self) -> float:
        return self.prefill_sequences + self.decode_sequences

    @property
    def readers(self) -> float:
        """Requests that are charged as running ones: all but one prompt."""
        prompts = self.prefill_sequences
        return self.decode_sequences + (prompts - 1.0 if prompts > 1.0 else 0.0)


def _running(requests: tuple[Request, ...]) -> Load | None:
    """The sums where every entry is one running request, the usual decode batch, in half the time; else None."""
    if not requests:
        return Load()
    if requests[0][0] != 1:  # a queue of prompts need not be read for this
        return None
    new, cached, copies = zip(*requests, strict=True)
    count, seen = len(requests), sum(cached)
    if new.count(1) < count or copies.count(1) < count or not (min(cached) >= 0 and seen >= 0):
        return None
    return Load.decode(float(count), float(seen + count))


def _few(requests: tuple[Request, ...]) -> Load | None:
    """The sums of a handful, one by one: arrays cost as much for one as for thirty. None: one of them is refused."""
    tokens = sequences = pairs = seen = decodes = decode_seen = 0.0
    for new, cached, copies in requests:
        if not (new >= 1 and cached >= 0 and copies >= 1):
            return None
        if new == 1:
            decodes += copies
            decode_seen += copies * (cached + 1)
        else:
            tokens += copies * new
            sequences += copies
            pairs += copies * (new * cached + new * (new + 1) / 2)
            seen += copies * (new + cached)
    return Load(tokens, sequences, pairs, seen, decodes, decode_seen, sequences + decodes)
