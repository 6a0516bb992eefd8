# SPDX-License-Identifier: Apache-2.0
"""What a policy's answer depends on, so that it need not be asked what it has answered already."""

from __future__ import annotations

from enum import Enum

from flexnpu.planner import POLICIES, Policy


class Looks(Enum):
    """How much of a snapshot decides."""

    NOTHING = "nothing that changes: the first answer holds"
    WINDOW = "the feedback of a window: an answer holds until the next one closes"
    BATCH = "which phases have work, and decode's requests in number: each case is asked for once"
    LOAD = "the next iterations of both phases: each cell of them is asked for once"
    WAIT = "those, and how long prompts have waited: each cell is asked for once"
    ALL = "anything: the last answer holds while the state stays in its cell"


_KNOWN = {
    "chunked": Looks.NOTHING,
    "static": Looks.NOTHING,
    "disaggregated": Looks.NOTHING,
    "semi-pd": Looks.WINDOW,
    "pdmux": Looks.BATCH,
    "duetserve": Looks.LOAD,
    "weights": Looks.WAIT,
}
_TYPES = {POLICIES[name]: looks for name, looks in _KNOWN.items() if name in POLICIES}


def looks_of(policy: Policy) -> Looks:
    """What is known of the policies that ship; everything for all others."""
    return _TYPES.get(type(policy), Looks.ALL)
