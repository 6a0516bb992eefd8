# SPDX-License-Identifier: Apache-2.0
"""The error tree: drawn as it is, and the same on both ends of the wire."""

from __future__ import annotations

import re

from flexnpu import errors
from flexnpu.errors import DaemonFault, FlexNpuError, OverQuota, by_code

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FlexNpuError)]


def test_the_drawing_shows_every_error_with_its_codes():
    rows = re.findall(r"^[│├└─ ]*([A-Z]\w+) +exit (\d+) +HTTP (\d+)", errors.__doc__ or "", re.MULTILINE)
    drawn = {name: (int(exit_code), int(status)) for name, exit_code, status in rows}
    assert drawn == {kind.__name__: (kind.exit_code, kind.status) for kind in TREE}


def test_codes_are_unique_and_lead_back_to_their_class():
    assert len({kind.code for kind in TREE}) == len(TREE)
    for kind in TREE:
        assert by_code(kind.code) is kind
    assert by_code("of a later version") is DaemonFault


def test_a_line_has_the_message_and_the_next_step():
    error = OverQuota("25 cores do not fit", next_step="ask for 24", limit=24, used=0, requested=25)
    assert str(error) == "25 cores do not fit; ask for 24"
    assert (error.limit, error.used, error.requested) == (24, 0, 25)
