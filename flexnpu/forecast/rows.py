# SPDX-License-Identifier: Apache-2.0
"""Seconds of the token-level operators by number of tokens, for all core counts at once, worked out when asked for.

`flexnpu._native.Rows` keeps them, with straight lines in between; here is which of them are worked out. Lines between
points of a rising function rise, so a forecast stays monotone in tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from flexnpu._native import Rows
from flexnpu.forecast.batch import Floats

_BLOCK = 16  # rows worked out at once


class Filled(NamedTuple):
    """Rows of several numbers of tokens: seconds alone, and with half of the device's bandwidth left, by (tokens,
    cores), no cores (infinite) included; by tokens, seconds of the whole bandwidth and of links to other devices."""

    alone: Floats
    held: Floats
    traffic: Floats
    links: Floats


Fill = Callable[[Floats], Filled]
_Wanted = tuple[Floats, Floats, Floats, Floats, Floats]


def rows(fill: Fill, cores: int) -> Rows:
    """Every count up to 2048 has its own row; beyond, there are 1024 rows per doubling."""
    return Rows(partial(_block, fill), cores, exact=2048.0, fine=10, last=math.inf)


def rising_rows(fill: Fill, cores: int) -> Rows:
    """The same where filled rows may fall with tokens or rise with cores: none of these does.

    What was measured is flat here and there, and a roofline scaled by it falls there, on some of the cores or beside a
    neighbour. A running maximum needs all rows below, so there are fewer, worked out at once; beyond the last, in
    proportion.
    """
    exact, fine, last = 256, 6, 2.0**20
    few = np.arange(1.0, exact)
    starts = np.power(2.0, np.arange(math.log2(exact), math.log2(last)))
    part = np.arange(2.0**fine) * 2.0**-fine
    wanted = np.concatenate([few, (starts[:, None] * (1.0 + part)).reshape(-1), [last]])
    return Rows(partial(_every, fill, wanted), cores, exact=float(exact), fine=fine, last=last)


def _block(fill: Fill, tokens: float, step: float) -> _Wanted:
    start = math.floor(tokens / step / _BLOCK) * _BLOCK
    wanted: Floats = (start + np.arange(float(_BLOCK))) * step
    return wanted, *fill(np.maximum(wanted, 1.0))


def _every(fill: Fill, wanted: Floats, tokens: float, step: float) -> _Wanted:
    alone, held, traffic, links = fill(wanted)
    return wanted, _rising(alone), _rising(held), traffic, links


def _rising(seconds: Floats) -> Floats:
    """By (tokens, cores)."""
    least: Floats = np.maximum.accumulate(np.maximum.accumulate(seconds[:, ::-1], axis=1)[:, ::-1], axis=0)
    return least
