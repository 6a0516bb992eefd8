# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, field

import pytest

from flexnpu.api.models import Device, RebalanceState, VNpu
from flexnpu.controller import CoresError, DeviceView
from flexnpu.controller.daemon import DaemonCores
from flexnpu.errors import InUse, NoDaemon
from flexnpu.planner import Split


def device(index, soc, cores_free, scale):
    return Device(
        index=index,
        soc=soc,
        kind="software",
        cores=24,
        memory_bytes=64 << 30,
        cores_free=cores_free,
        memory_free=1 << 30,
        scale=scale,
        environment={},
    )


def vnpu(name, index, cores):
    return VNpu(
        name=name,
        device=index,
        cores=cores,
        memory_bytes=1 << 30,
        revision=3,
        granted_cores=cores,
        granted_revision=3,
        applied_revision=3,
        applied=True,
        tenants=1,
    )


@dataclass
class FakeClient:
    """The daemon's client, answering as the admin API does."""

    applied: bool = True
    error: Exception | None = None
    decode_device: int = 1
    moves: list = field(default_factory=list)

    def devices(self):
        if self.error:
            raise self.error
        return [device(0, "Ascend910B1", 24, None), device(1, "Ascend910B2", 4, 2.5)]

    def vnpus(self):
        return [vnpu("prefill", 1, 12), vnpu("decode", self.decode_device, 8)]

    def rebalance(self, moves, *, wait):
        if self.error:
            raise self.error
        self.moves.append(moves)
        return RebalanceState(revisions={"prefill": 7, "decode": 9}, applied=self.applied)


def test_the_pair_may_have_its_own_cores_and_the_free_ones():
    cores = DaemonCores(FakeClient(), "prefill", "decode")
    assert cores.look() == DeviceView("Ascend910B2", 24, 2.5, Split(12, 8), 1)


def test_a_move_is_one_transaction_of_both():
    client = FakeClient()
    applied = DaemonCores(client, "prefill", "decode").move(Split(19, 5))
    assert client.moves == [[{"vnpu": "prefill", "cores": 19}, {"vnpu": "decode", "cores": 5}]]
    assert (applied.done, applied.revisions, applied.error) == (True, {"prefill": 7, "decode": 9}, None)


def test_a_move_that_is_not_applied_in_time_is_told_apart():
    assert not DaemonCores(FakeClient(applied=False), "prefill", "decode").move(Split(19, 5)).done


def test_a_vnpu_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(CoresError, match="vNPU 'other' does not exist; there are prefill, decode; start it with"):
        DaemonCores(FakeClient(), "other", "decode").look()


def test_vnpus_of_two_devices_are_refused():
    client = FakeClient(decode_device=0)
    with pytest.raises(CoresError, match="'prefill' is on device 1 and 'decode' on device 0"):
        DaemonCores(client, "prefill", "decode").look()


@pytest.mark.parametrize("error", [NoDaemon("no: nobody listens"), InUse("no: other tenants")])
def test_what_the_daemon_says_no_with_is_passed_on(error):
    cores = DaemonCores(FakeClient(error=error), "prefill", "decode")
    for ask in (cores.look, lambda: cores.move(Split(12, 12))):
        with pytest.raises(type(error), match="no: "):
            ask()
