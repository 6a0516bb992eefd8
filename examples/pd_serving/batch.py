# SPDX-License-Identifier: Apache-2.0
"""One iteration's tokens as a forward pass wants them, still on the host."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pd_serving.options import BLOCK
from pd_serving.sampling import Draw
from pd_serving.schedule import Work


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens of all sequences, one sequence after the other.

    step: (3, tokens): id, position in the sequence, row in the cache. table: (sequences, widest): a sequence's blocks.
    new: tokens of each sequence; lengths: with those before them. last: where the tokens are whose following one is
    wanted; draws: how it is chosen.
    """

    step: Tensor
    table: Tensor
    new: list[int]
    lengths: list[int]
    last: list[int]
    draws: list[Draw | None]

    @property
    def one_each(self) -> bool:
        """One token of each sequence, and the next one of each is wanted: a decode step, as a rule."""
        return len(self.last) == self.step.shape[1]

    @classmethod
    def of(cls, work: Work) -> Batch:
        new = [count for _, count in work]
        lengths = [sequence.length + count for sequence, count in work]
        widest = max(len(sequence.blocks) for sequence, _ in work)
        table = torch.tensor([each.blocks + [0] * (widest - len(each.blocks)) for each, _ in work])
        ids = [token for sequence, count in work for token in sequence.pending[:count]]
        ends = torch.tensor(new).cumsum(0)
        owner = torch.repeat_interleave(torch.tensor(new))
        position = torch.arange(len(ids)) + (torch.tensor(lengths) - ends)[owner]
        row = table[owner, position // BLOCK] * BLOCK + position % BLOCK
        full = [index for index, (sequence, count) in enumerate(work) if count == len(sequence.pending)]
        ready = [work[index][0] for index in full]
        return cls(
            step=torch.stack((torch.tensor(ids), position, row)),
            table=table,
            new=new,
            lengths=lengths,
            last=ends[full].sub_(1).tolist(),
            draws=[None if each.sampling is None else (each.sampling, each.made) for each in ready],
        )

    def later(self, steps: int, count: int) -> Batch:
        """So many steps after this one, of its first `count` sequences, when each has got a token in each step. Which
        ones is not known: their ids are 0."""
        ends = torch.tensor(self.new[:count]).cumsum(0) - 1
        position = self.step[1, ends] + steps
        row = self.table[:count].gather(1, (position // BLOCK).unsqueeze(1)).squeeze(1) * BLOCK + position % BLOCK
        return Batch(
            step=torch.stack((torch.zeros_like(position), position, row)),
            table=self.table[:count],
            new=[1] * count,
            lengths=[length + steps for length in self.lengths[:count]],
            last=list(range(count)),
            draws=[None if draw is None else (draw[0], draw[1] + steps) for draw in self.draws[:count]],
        )
