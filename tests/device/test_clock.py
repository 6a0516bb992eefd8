# SPDX-License-Identifier: Apache-2.0
"""The paced clock: device time is the model's, whatever the host does."""

from __future__ import annotations

import math
import struct

import pytest

from flexnpu import softnpu
from flexnpu.forecast.profile import Profile
from flexnpu.hardware import load_soc

GEMM = """
a = torch.empty(8192, 8192, dtype=torch.bfloat16, device="npu")
def timed(times):
    start, end = torch.npu.Event(enable_timing=True), torch.npu.Event(enable_timing=True)
    start.record()
    for _ in range(times): a @ a
    end.record(); torch.npu.synchronize()
    return start.elapsed_time(end) / times
timed(1)
# The device waits for a host that stalls before the first of them; the least is without.
print(json.dumps(min(timed(10) for _ in range(4))))
"""


@pytest.mark.device
def test_a_gemm_takes_the_time_that_the_forecast_gives_it(on_device):
    soc = load_soc("Ascend910B2")
    seconds = 2 * 8192**3 / Profile().compute(soc.peak_flops, 1.0) + Profile().matmul_seconds
    measured = on_device(GEMM, clock="paced", math="skip", scale=2.0) * 1e-3
    assert measured == pytest.approx(seconds, rel=0.02)


@pytest.mark.device
def test_a_model_larger_than_the_host_takes_only_addresses(on_device):
    used, resident = on_device(
        """
import resource
weights = [torch.empty(1 << 30, dtype=torch.uint8, device="npu").add_(1) for _ in range(40)]
torch.npu.synchronize()
free, total = torch.npu.mem_get_info()
print(json.dumps([total - free, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
""",
        math="skip",
    )
    assert used >= 40 << 30
    assert resident < 4 << 30


@pytest.mark.device
def test_state_is_read_and_scaled_from_outside(on_device, state_dir):
    on_device("torch.ones(1).npu(); print(json.dumps(0))", clock="paced", math="skip", scale=3.0)
    path = state_dir / "device0"
    state = softnpu.read_state(path)
    assert (state.soc, state.scale, state.paced, state.skip_math) == ("Ascend910B2", 3.0, True, True)
    assert (state.cube_cores, state.vector_cores, state.memory_total) == (24, 48, 64 << 30)
    assert state.processes == ()
    softnpu.set_scale(path, 0.5)
    later = softnpu.read_state(path)
    assert later.scale == 0.5
    assert later.device_seconds >= state.device_seconds
    assert math.isfinite(later.device_seconds)


def test_a_state_of_another_version_is_refused_by_name(tmp_path):
    path = tmp_path / "device0"
    path.write_bytes(struct.pack("<IIQ", softnpu.STATE_MAGIC, 99, 4096).ljust(4096, b"\0"))
    with pytest.raises(softnpu.StateError, match=rf"device0.*version 99.*version {softnpu.STATE_VERSION}"):
        softnpu.read_state(path)


def test_a_scale_that_is_not_positive_is_refused(tmp_path):
    with pytest.raises(ValueError, match="scale -1"):
        softnpu.set_scale(tmp_path / "device0", -1)
