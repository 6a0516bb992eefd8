# SPDX-License-Identifier: Apache-2.0
"""Property tests draw the same examples in every run of the same tree, so that a change answers for itself alone.
`make check-properties` lets them search.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("searching", derandomize=False, print_blob=True)
settings.load_profile("repeatable")
