# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, field
from types import SimpleNamespace

import httpx
import pytest

from flexnpu.controller import CoresError, DeviceView
from flexnpu.controller.daemon import DaemonCores
from flexnpu.planner import Split


@dataclass
class FakeClient:
    """The daemon's client, answering as the admin API does."""

    shape: type = dict
    applied: bool = True
    error: Exception | None = None
    there: list[dict] = field(
        default_factory=lambda: [
            {"name": "prefill", "device": 1, "cores": 12},
            {"name": "decode", "device": 1, "cores": 8},
        ]
    )
    moves: list = field(default_factory=list)

    def devices(self):
        if self.error:
            raise self.error
        return [
            self.shape(index=0, soc="Ascend910B1", cores_free=24, scale=1.0),
            self.shape(index=1, soc="Ascend910B2", cores_free=4, scale=2.5),
        ]

    def vnpus(self):
        return [self.shape(**each) for each in self.there]

    def rebalance(self, moves, *, wait):
        if self.error:
            raise self.error
        self.moves.append(moves)
        return self.shape(revision=7, applied=self.applied)


@pytest.mark.parametrize("shape", [dict, SimpleNamespace])
def test_the_pair_may_have_its_own_cores_and_the_free_ones(shape):
    cores = DaemonCores(FakeClient(shape), "prefill", "decode")
    assert cores.look() == DeviceView("Ascend910B2", 24, 2.5, Split(12, 8))


def test_a_move_is_one_transaction_of_both():
    client = FakeClient()
    applied = DaemonCores(client, "prefill", "decode").move(Split(19, 5))
    assert client.moves == [[{"vnpu": "prefill", "cores": 19}, {"vnpu": "decode", "cores": 5}]]
    assert (applied.done, applied.revision, applied.error) == (True, 7, None)


def test_a_move_that_is_not_applied_in_time_is_told_apart():
    assert not DaemonCores(FakeClient(applied=False), "prefill", "decode").move(Split(19, 5)).done


def test_a_vnpu_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(CoresError, match="vNPU 'other' does not exist; there are prefill, decode; start it with"):
        DaemonCores(FakeClient(), "other", "decode").look()


def test_vnpus_of_two_devices_are_refused():
    client = FakeClient()
    client.there[1]["device"] = 0
    with pytest.raises(CoresError, match="'prefill' is on device 1 and 'decode' on device 0"):
        DaemonCores(client, "prefill", "decode").look()


@pytest.mark.parametrize("error", [httpx.ConnectError("no daemon"), ConnectionRefusedError("no daemon")])
def test_a_daemon_that_is_away_is_one_kind_of_error(error):
    cores = DaemonCores(FakeClient(error=error), "prefill", "decode")
    for ask in (cores.look, lambda: cores.move(Split(12, 12))):
        with pytest.raises(CoresError, match="no daemon"):
            ask()


def test_an_answer_without_a_field_is_refused_by_its_name():
    client = FakeClient()
    del client.there[0]["cores"]
    with pytest.raises(CoresError, match="no cores; daemon and controller are of different versions"):
        DaemonCores(client, "prefill", "decode").look()
