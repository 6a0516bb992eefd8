# SPDX-License-Identifier: Apache-2.0
"""Excerpts of measured tables, and what is fitted to them, once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexnpu.forecast.calibration_profile import calibrate, device_of
from flexnpu.forecast.tables import read_table

PERF = Path(__file__).parents[2] / "data" / "perf"


@pytest.fixture(scope="session")
def a100_table():
    return read_table(PERF / "aiconfigurator_a100")


@pytest.fixture(scope="session")
def rtx_table():
    return read_table(PERF / "llmservingsim_rtx4090")


@pytest.fixture(scope="session")
def a100(a100_table):
    """SoC and profile."""
    soc = device_of(a100_table)
    return soc, calibrate(a100_table, soc)


@pytest.fixture(scope="session")
def rtx(rtx_table):
    soc = device_of(rtx_table)
    return soc, calibrate(rtx_table, soc)
