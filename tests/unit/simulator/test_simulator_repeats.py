# SPDX-License-Identifier: Apache-2.0
"""The same seed gives the same bytes, in any process; memory does not grow with the trace."""

import ctypes
import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
from fixed_plans import Restless
from plain_forecast import PlainForecast

from flexnpu.planner import POLICIES
from flexnpu.simulator import Arrival, EngineConfig, Simulation

SUPPORT = Path(__file__).parents[2] / "support"


def synthetic(seed, count, rate):
    """Conversations: each turn's prompt begins with all that was said before."""
    random = np.random.default_rng(seed)
    now = 0.0
    for number in range(count):
        now += float(random.exponential(1 / rate))
        prompt, talk = int(random.integers(10, 400)), int(random.integers(0, 40))
        blocks = tuple(100_000 * talk + place for place in range(prompt // 16 // 2))
        yield Arrival(now, prompt, int(random.integers(1, 60)), (*blocks, *(-number * 100 - k for k in range(13))))


def settings(**changes):
    base = {"token_budget": 256, "max_running": 32, "kv_tokens": 6000, "hash_tokens": 16, "link_bandwidth": 1e9}
    return EngineConfig(**{**base, "kv_bytes_per_token": 1e4, **changes})


def digest(seed):
    """Of every record of every policy, to the last bit."""
    forecast = PlainForecast(cores=8, base=2e-3, token=2e-5, pair=1e-9, sequence=1e-4, key=1e-7, slower=1.2)
    found = hashlib.sha256()
    for policy in (*(POLICIES[name]() for name in sorted(POLICIES) if name != "instances"), Restless()):
        devices = (2, 1) if ":" in policy.layout else (1, 0)
        for one in Simulation(synthetic(seed, 300, 60.0), forecast, policy, settings(devices=devices)):
            found.update(repr(tuple(one)).encode())
    return found.hexdigest()


def elsewhere(hash_seed):
    code = "import test_simulator_repeats as repeats; print(repeats.digest(5))"
    folders = os.pathsep.join([str(SUPPORT), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": folders}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_same_seed_gives_the_same_bytes_in_every_process():
    first, second = elsewhere("0"), elsewhere("4711")
    assert first == second == digest(5)
    assert digest(6) != first


class Allocated(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in (*"abcdefg", "in_use", *"ij")]


def in_use():
    """Bytes that native code has allocated."""
    allocated = ctypes.CDLL(None).mallinfo2
    allocated.restype = Allocated
    return allocated().in_use


def test_memory_does_not_grow_with_the_trace():
    forecast = PlainForecast(cores=8, base=2e-3, token=2e-5, sequence=1e-4, key=1e-7)

    def serve(count):
        """Bytes of the engine's, at most."""
        # Without blocks: CPython keeps some thousand small tuples for later, which looks like growth.
        trace = (Arrival(number / 20, 100 + number % 200, 1 + number % 50) for number in range(count))
        before, most, seen = in_use(), 0, 0
        for seen, _ in enumerate(Simulation(trace, forecast, POLICIES["chunked"](), settings()), 1):  # noqa: B007 - read after it
            most = max(most, in_use() - before)
        assert seen == count
        return most

    def python_peak(count):
        tracemalloc.start()
        try:
            serve(count)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    serve(500)  # what is made once
    # The heap has other users, who have 100 KB more or less; a request that is kept has more than 20 bytes.
    assert serve(16_000) < serve(1000) + 20 * 15_000
    assert python_peak(4000) < 1.3 * python_peak(1000)
