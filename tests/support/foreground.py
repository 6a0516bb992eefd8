# SPDX-License-Identifier: Apache-2.0
"""Programs that a test ends as a user does."""

from __future__ import annotations

import signal
import subprocess


def start(command, **options):
    """A program that heeds Ctrl-C: a shell starts what runs in its background, tests too, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return subprocess.Popen(command, **options)
    finally:
        signal.signal(signal.SIGINT, before)
