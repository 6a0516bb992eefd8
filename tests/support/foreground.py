# SPDX-License-Identifier: Apache-2.0
"""Programs that a test ends as a user does."""

from __future__ import annotations

import signal
import subprocess


def start(command, **options):
    """A program that heeds Ctrl-C and a hang-up: what a shell runs in its background, or nohup, ignores them."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        return subprocess.Popen(command, **options)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
