# SPDX-License-Identifier: Apache-2.0
"""A forecast that can be followed by hand: every term is linear, cores divide it, a neighbour slows it by a factor."""

from __future__ import annotations

import numpy as np

from flexnpu.forecast.load import Load


class PlainForecast:
    """An iteration takes `base` and, divided by its part of the cores, so much per prompt token and per key."""

    def __init__(self, cores=4, base=1e-3, token=1e-4, pair=0.0, sequence=1e-4, key=1e-7, slower=1.0):  # noqa: PLR0917
        self.cores = cores
        self.base, self.token, self.pair, self.sequence, self.key = base, token, pair, sequence, key
        self.slower = slower

    def load(self, requests):
        return Load.of(requests)

    def seconds(self, cores, load):
        work = self.token * load[0] + self.pair * load[2] + self.sequence * load[4] + self.key * load[5]
        return self.base + work * self.cores / cores

    def steps(self, cores, load, count):
        first = self.seconds(cores, load)
        return first + np.arange(count) * (self.key * load[4] * self.cores / cores)

    def beside(self, prefill_cores, prefill, decode_cores, decode):
        return self.slower * self.seconds(prefill_cores, prefill), self.slower * self.seconds(decode_cores, decode)

    def alone(self, requests):
        load = Load.of(requests)
        return np.array([np.inf, *(self.seconds(cores, load) for cores in range(1, self.cores + 1))])

    def split(self, prefill, decode, cores=None):
        total = cores or self.cores
        alone = self.alone(prefill)[: total + 1], self.alone(decode)[: total + 1]
        slower = np.full(total + 1, self.slower)
        slower[[0, -1]] = 1.0
        return alone[0][::-1] * slower, alone[1] * slower
