# SPDX-License-Identifier: Apache-2.0
"""One line of the log for every change that is asked for: `flexnpud: audit {…}`, JSON, whether it was made or not.

Fields: at (UTC), request, who (uid and pid, token, certificate or address), action, target, reason (X-Reason), old,
new, outcome: `done`, or the code of the error.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Request

from flexnpu.api.callers import Caller
from flexnpu.errors import FlexNpuError

log = logging.getLogger("flexnpud")

MOST_BYTES = 3072  # a pipe takes lines of 4 KiB as a whole; a longer one may block the daemon

Facts = Mapping[str, object]


@dataclass(slots=True)
class Change:
    """What is changed: `new` is filled in once it is known."""

    action: str
    target: str
    old: Facts | None = None
    new: Facts | None = None


@dataclass(frozen=True, slots=True)
class Auditor:
    """Of one request."""

    caller: Caller
    request: str
    reason: str | None

    @contextmanager
    def change(self, action: str, target: str, old: Facts | None = None) -> Iterator[Change]:
        """Written when the block ends, however it ends."""
        change = Change(action, target, old)
        outcome = "fault"
        try:
            yield change
            outcome = "done"
        except FlexNpuError as error:
            outcome = error.code
            raise
        finally:
            self._write(change, outcome)

    def _write(self, change: Change, outcome: str) -> None:
        told = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request": self.request,
            "who": self.caller.who,
            "action": change.action,
            "target": change.target,
            "reason": self.reason,
            "old": change.old,
            "new": change.new,
            "outcome": outcome,
        }
        line = json.dumps(told)
        if len(line) > MOST_BYTES:
            line = json.dumps({**told, "old": None, "new": None, "left_out_bytes": len(line)})
        log.info("audit %s", line)


async def _auditor(
    request: Request,
    x_reason: Annotated[str | None, Header(max_length=256, description="Why, for the audit line.")] = None,
) -> Auditor:
    return Auditor(request.state.caller, request.state.request_id, x_reason)


Audit = Annotated[Auditor, Depends(_auditor)]
