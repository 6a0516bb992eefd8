# SPDX-License-Identifier: Apache-2.0
"""torch_npu's profiler: its own analysis of what the software NPU wrote down."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest

from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.environment import merged

STEPS = """
from torch_npu import profiler
config = profiler._ExperimentalConfig(profiler_level=profiler.ProfilerLevel.Level1)
layers = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 8)).npu()
x = torch.randn(4096, 512).npu()
layers(x)
busy, times = torch.empty(8192, 8192, device="npu"), []
with profiler.profile(
    activities=[profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.NPU], experimental_config=config,
    schedule=profiler.schedule(wait=0, warmup=1, active=2, repeat=1),
    on_trace_ready=profiler.tensorboard_trace_handler(DIRECTORY),
) as running:
    for _ in range(3):
        busy @ busy  # what follows is queued before it begins
        hidden = layers[0](x)
        start, end = torch.npu.Event(enable_timing=True), torch.npu.Event(enable_timing=True)
        start.record()
        hidden = layers[1](hidden)
        end.record()
        layers[2](hidden).sum().backward()
        torch.npu.synchronize()  # a step ends for the profiler when its last launch is made
        times.append(start.elapsed_time(end) * 1e3)
        running.step()
print(json.dumps(times[1:]))
"""


def analysed(directory: Path) -> Path:
    (output,) = directory.glob("*_ascend_pt/ASCEND_PROFILER_OUTPUT")
    return output


@pytest.mark.device
def test_a_trace_has_every_operator_with_its_modelled_time_and_where_it_came_from(on_device, tmp_path):
    gelu_us = on_device(f"DIRECTORY = {str(tmp_path)!r}\n{STEPS}", clock="paced", math="skip")
    output = analysed(tmp_path)
    events = json.loads((output / "trace_view.json").read_text())
    with (output / "kernel_details.csv").open() as file:
        kernels = list(csv.DictReader(file))
    names = [kernel["Name"] for kernel in kernels]
    assert names.count("aclnnAddmm") == 4
    assert names.count("aclnnGelu") == names.count("aclnnGeluBackward") == 2
    assert {kernel["Step Id"] for kernel in kernels} == {"1", "2"}
    assert {"AI_CORE", "AI_VECTOR_CORE"} <= {kernel["Accelerator Core"] for kernel in kernels}
    gelu = [float(kernel["Duration(us)"]) for kernel in kernels if kernel["Name"] == "aclnnGelu"]
    assert gelu == pytest.approx(gelu_us, rel=0.02)
    drawn = [event for event in events if event.get("name") == "aclnnGelu" and event.get("args", {}).get("Task Type")]
    assert [event["dur"] for event in drawn] == pytest.approx(gelu, rel=0.02)
    # An arrow from torch's operator to each task, which torch_npu draws when the launch falls into its time.
    assert sum(event.get("cat") == "async_npu" and event["ph"] == "f" for event in events) >= len(kernels)
    with (output / "operator_details.csv").open() as file:
        durations = [row["Device Total Duration(us)"] for row in csv.DictReader(file) if row["Name"] == "aten::gelu"]
    assert durations
    assert {float(duration) for duration in durations} == set(gelu)


RANGES = """
from torch_npu import profiler
from torch_npu.npu import mstx
config = profiler._ExperimentalConfig(profiler_level=profiler.ProfilerLevel.Level1, mstx=True)
x = torch.empty(4096, 4096, device="npu")
x @ x
mstx.mark("before anyone listens")
with profiler.profile(
    activities=[profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.NPU], experimental_config=config,
    on_trace_ready=profiler.tensorboard_trace_handler(DIRECTORY),
):
    mstx.mark("here")
    prefill = mstx.range_start("prefill", torch.npu.current_stream(), domain="serving")
    for _ in range(8):
        x @ x
    mstx.range_end(prefill, domain="serving")
    mstx.range_end(12345)
    torch.npu.synchronize()
print("null")
"""


@pytest.mark.device
def test_marks_and_ranges_of_the_program_are_in_the_trace_on_the_host_and_around_their_work_on_the_device(
    on_device, tmp_path
):
    on_device(f"DIRECTORY = {str(tmp_path)!r}\n{RANGES}", clock="paced", math="skip")
    events = json.loads((analysed(tmp_path) / "trace_view.json").read_text())
    drawn = [event for event in events if event.get("ph") == "X"]
    (here,) = [event for event in drawn if event["name"] == "here"]
    assert here["dur"] == 0
    assert not [event for event in drawn if event["name"] == "before anyone listens"]
    on_host, on_npu = sorted((event for event in drawn if event["name"] == "prefill"), key=lambda event: event["dur"])
    assert on_host["args"]["domain"] == on_npu["args"]["domain"] == "serving"
    products = [event for event in drawn if event["name"] == "aclnnMm" or event["name"] == "aclnnMatmul"]
    tasks = [event for event in products if event["args"].get("Task Type")]
    assert len(tasks) == 8
    work = sum(event["dur"] for event in tasks)
    assert on_npu["dur"] >= work
    starts, ends = float(on_npu["ts"]), float(on_npu["ts"]) + on_npu["dur"]
    slack_us = 1  # times are rounded on their way
    assert all(starts <= float(t["ts"]) + slack_us and float(t["ts"]) + t["dur"] <= ends + slack_us for t in tasks)


@pytest.mark.device
def test_profiling_that_is_not_set_up_or_runs_already_is_refused(on_device, tmp_path):
    codes, said = on_device(
        f"""
import ctypes
acl = ctypes.CDLL("libascendcl.so")
acl.aclprofCreateConfig.restype = ctypes.c_void_p
acl.aclGetRecentErrMsg.restype = ctypes.c_char_p
torch.ones(1).npu()
path = {str(tmp_path)!r}.encode()
def config(*devices):
    made = (ctypes.c_uint32 * len(devices))(*devices)
    return acl.aclprofCreateConfig(made, len(devices), 255, None, ctypes.c_uint64(2))
zero = ctypes.c_void_p(config(0))
codes = [acl.aclprofStart(zero), acl.aclprofInit(b"/nowhere", 8), acl.aclprofInit(path, len(path)),
         acl.aclprofInit(path, len(path)), acl.aclprofStart(zero), acl.aclprofStart(zero), acl.aclprofStop(zero),
         acl.aclprofStop(zero), acl.aclprofFinalize()]
assert config(0, 7) is None
print(json.dumps([codes, acl.aclGetRecentErrMsg().decode()]))
"""
    )
    assert codes == [100043, 100003, 0, 100002, 0, 100042, 0, 100043, 0]
    assert "device 7, there are devices 0 to 0" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--export=on", "--output={}"], "was not written by the software NPU's profiling"),
        (["--export=on", "--type=db", "--output={}"], "exports text alone"),
        (["--export=on"], "--output"),
    ],
)
def test_msprof_says_what_it_cannot_export(tmp_path, arguments, said):
    environment = merged(os.environ, software_environment(SoftwareOptions(), None))
    command = ["msprof", *(argument.format(tmp_path) for argument in arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
