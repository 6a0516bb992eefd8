# SPDX-License-Identifier: Apache-2.0
"""Discrete events: a trace served by engines whose iterations the forecast times and a policy plans."""

from flexnpu.simulator.arrival import Arrival, Finished, Sample, Watch
from flexnpu.simulator.config import EngineConfig, Phases, SimulationError, kv_capacity
from flexnpu.simulator.engine import Simulation, simulate

__all__ = [
    "Arrival",
    "EngineConfig",
    "Finished",
    "Phases",
    "Sample",
    "Simulation",
    "SimulationError",
    "Watch",
    "kv_capacity",
    "simulate",
]
