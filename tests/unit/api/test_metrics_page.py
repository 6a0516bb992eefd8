# SPDX-License-Identifier: Apache-2.0
"""The page of metrics: what each row makes of what was seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flexnpu.api.controller import Controller
from flexnpu.api.metrics.aliases import TABLES as ALIASES
from flexnpu.api.metrics.naming import Naming
from flexnpu.api.metrics.node import Seen
from flexnpu.api.metrics.page import TABLES, page
from flexnpu.errors import InvalidValue
from flexnpu.tenancy import Buckets, DeviceCounts, DeviceView, NodeCounts, UseView, VNpuCounts, VNpuView

GIB = 2**30
DEVICES = [
    DeviceView(
        index, "Ascend910B2", "software", 24, 64 * GIB, 6, 48 * GIB, 3 * GIB, "paced", "skip", 1.0, {}, f"u{index}"
    )
    for index in (0, 1)
]
VNPU = VNpuView(
    id=7,
    name="chat",
    device=0,
    devices=[0, 1],
    cores=12,
    burst_cores=16,
    vector_cores=None,
    memory_bytes=8 * GIB,
    share_percent=25.0,
    effective_share_percent=30.0,
    fixed_share=False,
    priority=1,
    revision=4,
    phase="decode",
    owner_pid=4711,
    granted_cores=14,
    granted_revision=4,
    applied_revision=3,
    applied=False,
    lent_cores=2,
    tenants=1,
    use=[UseView(0, 14, 2, 14, 1.5, 7, GIB, 2 * GIB), UseView(1, 12, 0, 12, 0.5, 3, 2 * GIB, 2 * GIB)],
    labels={"namespace": "ml", "pod": "chat-0", "container": "engine"},
)
COUNTS = VNpuCounts(
    vnpu="chat",
    denials={"memory": 2, "quota": 1},
    waits=Buckets((0.001, 0.1), (3, 1, 2), 2.5),
    applies=Buckets((0.01,), (1, 0), 0.004),
    leases_reclaimed=4,
    launched=50,
    ungoverned=1,
    steps={"prefill": 1, "decode": 9, "mixed": 0},
    devices=[
        DeviceCounts(0, 17.5, 2.0, {"kernel": 45, "graph": 5}, 6),
        DeviceCounts(1, 16.5, 0.5, {"kernel": 45, "graph": 5}, 3),
    ],
)
CONTROLLER = Controller.model_validate(
    {
        "name": "one",
        "live": True,
        "since": 0.0,
        "renewed_at": 0.0,
        "decisions": 3,
        "who": {},
        "mode": "split",
        "moves": True,
        "devices": [0],
        "services": [{"name": "chat", "model": "q", "ttft_s": 1.0, "itl_s": 0.05}] * 2,
        "totals": {
            "decisions": [{"device": 0, "reason": "both", "decisions": 5, "moves": {"applied": 3, "late": 1}}] * 2,
            "services": [
                {
                    "service": "chat",
                    "output_tokens": 100.0,
                    "output_tokens_in_time": 90.5,
                    "forecast_errors": {"decode": {"bounds": [0.1], "counts": [4, 1], "sum": 0.6}},
                }
            ],
        },
    }
)
COUNTED = NodeCounts({"bad_hello": 1}, {0: 14, 1: 12}, {0: 6, 1: 3})
SEEN = Seen("n1", 4, DEVICES, [(VNPU, COUNTS)], COUNTED, [CONTROLLER])


def samples(seen: Seen = SEEN, aliases: tuple[str, ...] = ()) -> dict[str, dict[tuple[str, ...], float]]:
    """By name, values by the values of labels in the order of their names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(page(seen, aliases).decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), f"{sample.name} {labels} is there twice"
            found[sample.name][labels] = sample.value
    return found


def rows() -> list[Any]:
    return [(table, row) for table in TABLES for row in table.rows]


def test_every_row_is_on_the_page_with_its_labels():
    families = {family.name: family for family in text_string_to_metric_families(page(SEEN).decode())}
    for table, row in rows():
        family = families[row.name.removesuffix("_total")]
        assert family.type == row.kind
        assert family.documentation == row.meaning
        assert family.samples, row.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == {*table.labels, *row.labels}


def test_every_figure_is_of_the_node_and_none_of_a_process():
    for table, row in rows():
        assert table.labels[0] == "node"
        assert not {"pid", "process"} & {*table.labels, *row.labels}
    assert "4711" not in page(SEEN).decode().replace("process_", "")


@pytest.mark.parametrize("kind", ["counter", "histogram", "gauge"])
def test_names_say_what_they_are(kind: str):
    for _, row in rows():
        if row.kind == kind:
            assert row.name.endswith("_total") == (kind == "counter")
            assert (kind != "histogram") or row.name.endswith(("_seconds", "_ratio"))


def test_names_are_used_once():
    names = [row.name for _, row in rows()]
    names += [row.name for tables in ALIASES.values() for table in tables for row in table.rows]
    assert len(set(names)) == len(names)


def test_figures_of_devices_and_vnpus():
    found = samples()
    assert found["flexnpu_device_guaranteed_cores"] == {("0", "n1"): 18, ("1", "n1"): 18}
    assert found["flexnpu_device_granted_cores"][("0", "n1")] == 14
    assert found["flexnpu_vnpu_used_cores"] == {("0", "n1", "chat"): 6, ("1", "n1", "chat"): 3}
    assert found["flexnpu_vnpu_core_seconds_total"] == {("0", "n1", "chat"): 17.5, ("1", "n1", "chat"): 16.5}
    assert found["flexnpu_vnpu_share_ratio"] == {("n1", "chat"): 0.25}
    assert found["flexnpu_vnpu_desired_revision"] == {("n1", "chat"): 4}
    assert found["flexnpu_vnpu_observed_revision"] == {("n1", "chat"): 3}
    assert found["flexnpu_vnpu_launches_total"][("1", "graph", "n1", "chat")] == 5
    assert found["flexnpu_vnpu_steps_total"][("n1", "decode", "chat")] == 9
    assert found["flexnpu_vnpu_info"] == {("engine", "ml", "n1", "decode", "chat-0", "chat"): 1}
    assert found["flexnpu_denials_total"] == {
        ("n1", "bad_hello", ""): 1,
        ("n1", "memory", "chat"): 2,
        ("n1", "quota", "chat"): 1,
    }


def test_a_histogram_is_cumulative():
    found = samples()
    assert found["flexnpu_vnpu_gate_wait_seconds_bucket"] == {
        ("0.001", "n1", "chat"): 3,
        ("0.1", "n1", "chat"): 4,
        ("+Inf", "n1", "chat"): 6,
    }
    assert found["flexnpu_vnpu_gate_wait_seconds_count"] == {("n1", "chat"): 6}
    assert found["flexnpu_vnpu_gate_wait_seconds_sum"] == {("n1", "chat"): 2.5}
    assert found["flexnpu_service_forecast_error_ratio_bucket"][("one", "+Inf", "n1", "decode", "chat")] == 5


def test_a_histogram_is_there_once_something_was_observed():
    idle = replace(SEEN, vnpus=[(VNPU, replace(COUNTS, waits=Buckets((0.001, 0.1), (0, 0, 0), 0.0)))])
    assert "flexnpu_vnpu_gate_wait_seconds_count" not in samples(idle)


def test_what_a_controller_tells_twice_is_one_series():
    found = samples()  # which sees to it
    assert found["flexnpu_controller_moves_total"] == {
        ("one", "0", "n1", "both", "applied"): 3,
        ("one", "0", "n1", "both", "late"): 1,
    }
    assert found["flexnpu_service_output_tokens_in_time_total"] == {("one", "n1", "chat"): 90.5}


def test_what_a_device_does_not_say_is_not_there():
    silent = replace(
        SEEN,
        devices=[replace(each, kind="ascend", clock=None, memory_used=None) for each in DEVICES],
        counts=replace(SEEN.counts, used_cores={0: None, 1: None}),
        vnpus=[(VNPU, replace(COUNTS, devices=[replace(each, used_cores=None) for each in COUNTS.devices]))],
    )
    found = samples(silent, ("npu-exporter", "hami"))
    for name in (
        "flexnpu_device_used_cores",
        "flexnpu_device_memory_used_bytes",
        "flexnpu_vnpu_used_cores",
        "npu_chip_info_utilization",
        "hami_host_gpu_utilization_ratio",
    ):
        assert name not in found
    assert found["flexnpu_device_info"][("", "0", "ascend", "n1", "Ascend910B2")] == 1


def test_a_device_that_is_lost_says_so():
    lost = replace(SEEN, devices=[DEVICES[0], replace(DEVICES[1], trouble="it is gone")])
    found = samples(lost, ("npu-exporter",))
    assert found["flexnpu_device_usable"] == {("0", "n1"): 1, ("1", "n1"): 0}
    assert sorted(found["npu_chip_info_health_status"].values()) == [0, 1]


def test_aliases_are_there_when_they_are_asked_for():
    assert not [name for name in samples() if name.startswith(("npu_", "vnpu_", "hami_", "machine_"))]
    assert "machine_npu_nums" not in samples(aliases=("hami",))
    found = samples(aliases=("npu-exporter", "hami"))
    assert found["machine_npu_nums"] == {(): 2}
    chip = ("", "0", "Ascend910B2", "", "", "", "")
    assert found["npu_chip_info_utilization"][chip] == 25
    assert found["npu_chip_info_hbm_total_memory"][chip] == 64 * 1024
    virtual = ("12.00", "engine", "1", "true", "Ascend910B2", "ml", "chat-0", "7")
    assert found["vnpu_pod_aicore_utilization"][virtual] == 25
    assert found["vnpu_pod_used_memory"][virtual] == 2 * GIB // 1024
    assert found["hami_vgpu_memory_limit_bytes"][("engine", "u0", "ml", "chat-0", "0")] == 8 * GIB
    assert found["hami_host_gpu_utilization_ratio"][("0", "Ascend-Ascend910B2", "u0", "n1")] == 25


def test_vnpus_without_a_pod_are_no_containers():
    alone = replace(SEEN, vnpus=[(replace(VNPU, labels={}), COUNTS)])
    assert "hami_vgpu_memory_used_bytes" not in samples(alone, ("hami",))
    assert samples(alone)["flexnpu_vnpu_info"] == {("", "", "n1", "decode", "", "chat"): 1}


def test_names_are_taken_from_the_flags():
    assert Naming.parse("n1", "hami, npu-exporter,hami") == Naming("n1", ("hami", "npu-exporter"))
    assert Naming.parse(None, "").node
    for wrong in ("nvidia", "hami,x"):
        with pytest.raises(InvalidValue, match=r"--metric-aliases '(nvidia|x)' is not known"):
            Naming.parse(None, wrong)
    for wrong in ("", "a b", 'a"', "-a", "x" * 254):
        with pytest.raises(InvalidValue, match="--node-name"):
            Naming.parse(wrong, "")
