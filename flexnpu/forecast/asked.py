# SPDX-License-Identifier: Apache-2.0
"""What the extension asks of attention that Python works out."""

from __future__ import annotations

from typing import Protocol

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.load import Load


class AskedAttention(Protocol):
    """Attention that the extension asks of Python. Answers are seconds of all layers."""

    def seconds(self, load: Load, cores: int) -> float:
        """Alone on so many cores."""

    def single(self, load: Load, cores: int) -> tuple[float, float, float]:
        """The same, beside a neighbour, and what its bytes take of the whole bandwidth."""

    def by_cores(self, load: Load) -> tuple[Floats, Floats, float]:
        """The same by cores; what it says of none is to be ignored."""

    def steps(self, load: Load, cores: int, seen: Floats) -> Floats:
        """Seconds alone, by the keys that running requests read."""
