# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N818 - the names say what happened; that they are errors shows where they are raised
"""Everything FlexNPU raises for its users. One line each: the thing, the value, the allowed range, the next step.

FlexNpuError                 exit 1   HTTP 500
├── InvalidValue             exit 2   HTTP 422  a value that cannot be read, or is outside its range
│   ├── Malformed            exit 2   HTTP 400  a request that is not what its form demands
│   └── TooLarge             exit 2   HTTP 413  a request of more bytes than are read
├── Refused                  exit 3   HTTP 409  understood, but not possible as things stand
│   ├── OverQuota            exit 3   HTTP 422  more cores or memory than the device has free
│   ├── NameTaken            exit 3   HTTP 409  a vNPU has that name
│   ├── KeyReused            exit 3   HTTP 422  an Idempotency-Key that came with another request before
│   ├── NotFound             exit 3   HTTP 404
│   │   ├── UnknownVNpu      exit 3   HTTP 404
│   │   └── UnknownDevice    exit 3   HTTP 404
│   ├── InUse                exit 3   HTTP 409  tenants are in the way
│   ├── RevisionChanged      exit 3   HTTP 412  somebody else changed the quota first
│   ├── RevisionMissing      exit 3   HTTP 428  a change that does not say which revision it is of
│   ├── Unauthenticated      exit 3   HTTP 401  the daemon does not know who asks
│   └── Forbidden            exit 3   HTTP 403  who asks may not do that
├── DaemonError              exit 4   HTTP 500
│   ├── NoDaemon             exit 4   HTTP 500  nobody listens in the runtime directory, or at the URL
│   ├── DaemonRunning        exit 4   HTTP 500  another daemon has the runtime directory
│   ├── DaemonFault          exit 4   HTTP 500  the daemon failed; its log says more
│   ├── Unavailable          exit 4   HTTP 503  not now; the same request may be granted later
│   │   └── RegistryError    exit 4   HTTP 503  the registry cannot be used
│   └── TooManyRequests      exit 4   HTTP 429  who asks has asked too often
├── NotApplied               exit 5   HTTP 500  accepted, but not applied in time
├── BackendError             exit 6   HTTP 500  a device or a library is missing
└── CommandError             exit 127 HTTP 500  the program to be run is not there (126: cannot be executed)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self


class FlexNpuError(Exception):
    """The root. `code` names the kind on the wire."""

    code = "error"
    status = 500
    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        next_step: str = "",
        limit: int | None = None,
        used: int | None = None,
        requested: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.limit = limit
        self.used = used
        self.requested = requested

    def __str__(self) -> str:
        return f"{self.message}; {self.next_step}" if self.next_step else self.message


class InvalidValue(FlexNpuError):
    code = "invalid_value"
    status = 422
    exit_code = 2


class Malformed(InvalidValue):
    code = "malformed"
    status = 400


class TooLarge(InvalidValue):
    code = "too_large"
    status = 413


class Refused(FlexNpuError):
    code = "refused"
    status = 409
    exit_code = 3


class OverQuota(Refused):
    code = "over_quota"
    status = 422


class NameTaken(Refused):
    code = "name_taken"


class KeyReused(Refused):
    code = "key_reused"
    status = 422


class NotFound(Refused):
    code = "not_found"
    status = 404


class UnknownVNpu(NotFound):
    code = "unknown_vnpu"


class UnknownDevice(NotFound):
    code = "unknown_device"

    @classmethod
    def among(cls, index: int | None, there: Iterable[int]) -> Self:
        """there: the indexes that there are."""
        known = ", ".join(map(str, there))
        return cls(f"device {index} does not exist (there are: {known})", next_step="see flexnpu ps")


class InUse(Refused):
    code = "in_use"


class RevisionChanged(Refused):
    code = "revision_changed"
    status = 412


class RevisionMissing(Refused):
    code = "revision_missing"
    status = 428


class Unauthenticated(Refused):
    code = "unauthenticated"
    status = 401


class Forbidden(Refused):
    code = "forbidden"
    status = 403


class DaemonError(FlexNpuError):
    code = "daemon_error"
    exit_code = 4


class NoDaemon(DaemonError):
    code = "no_daemon"


class DaemonRunning(DaemonError):
    code = "daemon_running"


class DaemonFault(DaemonError):
    code = "daemon_fault"


class Unavailable(DaemonError):
    code = "unavailable"
    status = 503


class RegistryError(Unavailable):
    code = "registry_error"


class TooManyRequests(DaemonError):
    code = "too_many_requests"
    status = 429


class NotApplied(FlexNpuError):
    code = "not_applied"
    exit_code = 5


class BackendError(FlexNpuError):
    code = "backend_error"
    exit_code = 6


class CommandError(FlexNpuError):
    code = "command_error"
    exit_code = 127


def _tree(root: type[FlexNpuError]) -> Iterator[type[FlexNpuError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def by_code(code: str) -> type[FlexNpuError]:
    """The class of a code on the wire; DaemonFault for a code that this version does not know."""
    return next((kind for kind in _tree(FlexNpuError) if kind.code == code), DaemonFault)
