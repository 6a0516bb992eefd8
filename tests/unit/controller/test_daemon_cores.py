# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, field

import pytest

from flexnpu.api.models import Device, RebalanceState, VNpu
from flexnpu.controller import CoresError, DeviceView, Grant
from flexnpu.controller.daemon import DaemonCores
from flexnpu.errors import InUse, NoDaemon


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


def vnpu(name, devices, cores, applied):
    return VNpu(
        name=name,
        device=devices[0],
        devices=devices,
        cores=cores,
        memory_bytes=1 << 30,
        revision=3,
        granted_cores=cores,
        granted_revision=3,
        applied_revision=3,
        applied=applied,
        tenants=1,
    )


@dataclass
class FakeClient:
    """The daemon's client, answering as the admin API does."""

    applied: bool = True
    error: Exception | None = None
    decode_device: int = 1
    there: list = field(default_factory=lambda: ["prefill", "decode"])
    in_force: bool = True
    wide: bool = False
    device_count: int = 2
    moves: list = field(default_factory=list)

    def devices(self):
        if self.error:
            raise self.error
        return [device(0, "Ascend910B1", 24, None), device(1, "Ascend910B2", 4, 2.5)][: self.device_count]

    def vnpus(self):
        prefill = vnpu("prefill", [1], 12, self.in_force)
        decode = vnpu("decode", [0, 1] if self.wide else [self.decode_device], 8, self.in_force)
        return [each for each in (prefill, decode) if each.name in self.there]

    def rebalance(self, moves, *, wait):
        if self.error:
            raise self.error
        self.moves.append(moves)
        return RebalanceState(revisions={"prefill": 7, "decode": 9}, applied=self.applied)


def both(client):
    return DaemonCores(client, ["prefill", "decode"])


def test_vnpus_may_have_together_what_is_not_guaranteed_to_others():
    grants = {"prefill": Grant(12), "decode": Grant(8)}
    assert both(FakeClient()).look() == [DeviceView((1,), "Ascend910B2", 24, 2.5, grants)]
    alone = DaemonCores(FakeClient(), ["prefill"]).look()
    assert [(view.cores, view.grants) for view in alone] == [(16, {"prefill": Grant(12)})]


def test_those_of_two_devices_are_two_views():
    views = both(FakeClient(decode_device=0)).look()
    assert [(view.devices, view.soc, view.cores, list(view.grants)) for view in views] == [
        ((0,), "Ascend910B1", 24, ["decode"]),
        ((1,), "Ascend910B2", 24, ["prefill"]),
    ]


def test_a_move_is_one_transaction_of_all():
    client = FakeClient()
    applied = both(client).move({"prefill": Grant(19), "decode": Grant(5)})
    told = [{"vnpu": "prefill", "cores": 19}, {"vnpu": "decode", "cores": 5}]
    assert client.moves == [[each | {"share_percent": None} for each in told]]
    assert (applied.done, applied.revisions, applied.error) == (True, {"prefill": 7, "decode": 9}, None)


def test_a_move_to_shared_time_says_who_goes_first():
    client = FakeClient()
    both(client).move({"prefill": Grant(24, 60.0), "decode": Grant(24, 40.0, priority=1)})
    assert client.moves == [
        [
            {"vnpu": "prefill", "cores": 24, "share_percent": 60.0, "priority": 0},
            {"vnpu": "decode", "cores": 24, "share_percent": 40.0, "priority": 1},
        ]
    ]


def test_a_move_that_is_not_applied_in_time_is_told_apart():
    assert not both(FakeClient(applied=False)).move({"prefill": Grant(19)}).done


def test_a_vnpu_that_never_existed_is_named_with_those_that_do():
    with pytest.raises(CoresError, match="vNPU 'other' does not exist; there are prefill, decode; start it with"):
        DaemonCores(FakeClient(), ["other", "decode"]).look()


def test_a_vnpu_that_has_ended_is_missing_from_its_device_until_it_is_back():
    client = FakeClient()
    cores = both(client)
    cores.look()
    client.there = ["decode"]
    (view,) = cores.look()
    assert (view.cores, list(view.grants)) == (24, ["decode"])
    client.there = ["prefill", "decode"]
    assert list(cores.look()[0].grants) == ["prefill", "decode"]


def test_a_quota_that_is_not_in_force_yet_is_pending():
    client = FakeClient(in_force=False)
    assert both(client).look()[0].pending == {"prefill": 3, "decode": 3}


def test_vnpus_that_share_only_some_devices_are_refused():
    client = FakeClient(wide=True)
    with pytest.raises(CoresError, match="'decode' and 'prefill' are both on device 1, but not both on all of 0, 1"):
        both(client).look()


def test_a_vnpu_that_comes_back_on_another_device_is_not_counted_among_those_there():
    client = FakeClient(decode_device=1)
    cores = both(client)
    cores.look()
    client.decode_device = 0
    (view,) = cores.look()
    assert (view.devices, list(view.grants), view.elsewhere) == ((1,), ["prefill"], {"decode": (0,)})
    assert view.cores == 24


def test_a_device_that_is_not_there_any_more_is_named():
    client = FakeClient()
    cores = both(client)
    cores.look()
    client.device_count = 1
    with pytest.raises(CoresError, match="device 1 is not there any more; there are 0"):
        cores.look()


@pytest.mark.parametrize("error", [NoDaemon("no: nobody listens"), InUse("no: other tenants")])
def test_what_the_daemon_says_no_with_is_passed_on(error):
    cores = both(FakeClient(error=error))
    for ask in (cores.look, lambda: cores.move({"prefill": Grant(12)})):
        with pytest.raises(type(error), match="no: "):
            ask()
