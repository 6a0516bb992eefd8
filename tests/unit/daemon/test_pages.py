# SPDX-License-Identifier: Apache-2.0
"""Pages that daemon and arbiter share."""

from __future__ import annotations

import subprocess
import sys

# The arbiter's own thread listens to a tenant of a vNPU that is time-shared, so it is the last to let go of its page.
COME_AND_GO = """
import time
from flexnpu import _native
arbiter = _native.Arbiter(24, 48)
arbiter.add(1, _native.ControlPage("a", [0]), 0, _native.Quota(revision=1, cores=4, memory_bytes=1, share=1000))
for number in range(4000):
    tenant = arbiter.attach(1, _native.ReportPage(1), 0, True)
    if number % 2:
        time.sleep(0.0001)
    arbiter.detach(1, tenant)
    for _ in range(20):
        arbiter.state(1)
"""


def test_a_page_that_the_arbiter_lets_go_of_holds_up_nobody():
    subprocess.run([sys.executable, "-c", COME_AND_GO], check=True, timeout=120)
