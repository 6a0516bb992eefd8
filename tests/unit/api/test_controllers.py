# SPDX-License-Identifier: Apache-2.0
"""What controllers told of themselves."""

from __future__ import annotations

from flexnpu.api.controller import ControllerState, DecisionRecord
from flexnpu.api.controllers import Controllers

STATE = ControllerState(mode="split", moves=True, devices=[0], services=[], renew_within_s=10)
DECISION = DecisionRecord(number=1, device=0, mode="planned", before={}, after={}, moved=False, reason="nothing waits")


def test_a_controller_that_decides_lives_as_one_that_tells_its_state_does():
    now = [0.0]
    known = Controllers(clock=lambda: now[0])
    known.put("one", STATE, {"uid": 0})
    now[0] = 9.0
    known.add("one", DECISION)
    now[0] = 18.0
    assert known.get("one").live
    now[0] = 20.0
    assert not known.get("one").live
