# SPDX-License-Identifier: Apache-2.0
"""How a matrix product is cut into parts for the cores, and what the busiest of them has to do."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from flexnpu.forecast.batch import Floats


def busiest(m: float | Floats, n: int, cores: int, tile: int) -> Floats:
    """Rows times columns of the busiest core's part, by m (its entries in a row) and number of cores (1 to `cores`).

    m is cut into a parts and n into b with a b at most the cores, each part rounded up to whole tiles; the best a.
    Never falls with m, never rises with cores.
    """
    rows, columns, starts = _cuts(cores)
    tall = np.ceil(np.ceil(np.asarray(m, dtype=np.float64).reshape(-1, 1) / rows) / tile) * tile
    wide = np.ceil(np.ceil(n / columns) / tile) * tile
    least: Floats = np.minimum.reduceat(tall * wide, starts, axis=1)
    return least


@cache
def _cuts(cores: int) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Parts of m and n for every number of cores, one after the other, and where each number begins."""
    rows: list[int] = []
    columns: list[int] = []
    starts: list[int] = []
    for count in range(1, cores + 1):
        starts.append(len(rows))
        for parts in range(1, count + 1):
            if parts == 1 or count // parts != count // (parts - 1) or count // parts == 1:
                rows.append(parts)
                columns.append(count // parts)
    return np.array(rows, dtype=np.float64), np.array(columns, dtype=np.float64), np.array(starts)
