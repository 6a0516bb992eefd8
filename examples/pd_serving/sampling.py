# SPDX-License-Identifier: Apache-2.0
"""From logits to tokens. Each draw depends on the seed and on how many tokens came before, on nothing else: a request
gets the same tokens whichever instance makes them, and whoever is in its batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pd_serving.ids import upload


@dataclass(frozen=True, slots=True)
class Sampling:
    """temperature above 0; top_p: the likeliest tokens that together have this share."""

    temperature: float
    top_p: float
    seed: int

    def draw(self, index: int) -> float:
        """In [0, 1), for a request's token of that index."""
        return random.Random(f"{self.seed}/{index}").random()


Draw = tuple[Sampling, int]  # with the token's index


@torch.inference_mode()
def choose(logits: Tensor, draws: Sequence[Draw | None]) -> Tensor:
    """An id for each row of logits (rows, vocabulary); None takes the likeliest. Not waited for."""
    best = logits.argmax(-1)
    rows = [row for row, draw in enumerate(draws) if draw is not None]
    if rows:
        index = upload(torch.tensor(rows), logits.device)
        best.index_copy_(0, index, _sample(logits.index_select(0, index), [draw for draw in draws if draw is not None]))
    return best


def _sample(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    heat, share, at = (
        upload(torch.tensor(column), logits.device).unsqueeze(1)
        for column in zip(*((each.temperature, each.top_p, each.draw(index)) for each, index in draws), strict=True)
    )
    likely, ids = (logits.float() / heat).softmax(-1).sort(-1, descending=True)
    sums = likely.cumsum(-1)
    kept = (sums - likely < share) * likely  # the token that passes the share is the last one of it
    sums = kept.cumsum(-1)
    place = (sums <= at * sums[:, -1:]).sum(-1, keepdim=True)
    last = (kept > 0).sum(-1, keepdim=True) - 1  # a draw just below 1 may be rounded up to it
    return ids.gather(1, torch.minimum(place, last).clamp_(min=0)).squeeze(1)
