# SPDX-License-Identifier: Apache-2.0
"""What a pod's annotations ask of its vNPUs. Pure: annotations in, changes of quotas out.

flexnpu.io/cores: "8"           guaranteed cores
flexnpu.io/burst: "16"          what idle cores of others may bring it to; "none": no more than its cores
flexnpu.io/phase: decode        prefill or decode; "none": neither
flexnpu.io/service: chat        the service that it is an engine of; a controller deals cores to services
flexnpu.io/model: Qwen2.5-7B    its model's shape: a file of the controller's, NAME.json
flexnpu.io/slo-ttft: 1s         time to first token, and
flexnpu.io/slo-itl: 50ms        time between tokens, that the service is to keep

flexnpu.io/cores.NAME is for the container NAME alone, and goes before flexnpu.io/cores, which is for all of the pod's.
What came of it is told in flexnpu.io/status.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flexnpu.errors import InvalidValue
from flexnpu.tenancy.vnpu import PHASES
from flexnpu.units import parse_duration

PREFIX = "flexnpu.io/"
STATUS = f"{PREFIX}status"
QUOTA_KEYS = ("cores", "burst", "phase")
SERVICE_KEYS = ("service", "model", "slo-ttft", "slo-itl")
KEYS = (*QUOTA_KEYS, *SERVICE_KEYS)
NONE = "none"
MOST_CORES = 0xFFFF


@dataclass(frozen=True, slots=True)
class Asked:
    """What a container's annotations say, read. A field is None where nothing is said; burst 0 and phase "" take it
    away. ttft, itl: times with their units, as the controller takes them."""

    cores: int | None = None
    burst: int | None = None
    phase: str | None = None
    service: str | None = None
    model: str | None = None
    ttft: str | None = None
    itl: str | None = None


def texts_of(annotations: Mapping[str, str], container: str) -> dict[str, str]:
    """The texts that are for this container, by KEYS."""
    found = {}
    for key in KEYS:
        for name in (f"{PREFIX}{key}.{container}", f"{PREFIX}{key}"):
            if name in annotations:
                found[key] = annotations[name].strip()
                break
    return found


def read(texts: Mapping[str, str]) -> Asked:
    """InvalidValue where a text is not what its key takes."""
    alone = next((key for key in SERVICE_KEYS if key in texts and "service" not in texts), None)
    if alone is not None:
        raise InvalidValue(
            f"annotation {PREFIX}{alone} is of a service, and none is named", next_step=f"add {PREFIX}service"
        )
    return Asked(
        cores=_cores("cores", texts["cores"]) if "cores" in texts else None,
        burst=_burst(texts["burst"]) if "burst" in texts else None,
        phase=_phase(texts["phase"]) if "phase" in texts else None,
        service=_name("service", texts["service"]) if "service" in texts else None,
        model=_name("model", texts["model"]) if "model" in texts else None,
        ttft=_time("slo-ttft", texts["slo-ttft"]) if "slo-ttft" in texts else None,
        itl=_time("slo-itl", texts["slo-itl"]) if "slo-itl" in texts else None,
    )


def unknown(annotations: Mapping[str, str], containers: Iterable[str]) -> list[str]:
    """Annotations of ours that nobody reads: of a key or a container that is not there."""
    known = {f"{PREFIX}{key}" for key in KEYS} | {STATUS}
    known |= {f"{PREFIX}{key}.{container}" for key in KEYS for container in containers}
    return sorted(name for name in annotations if name.startswith(PREFIX) and name not in known)


def _cores(key: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MOST_CORES:
        raise InvalidValue(
            f"annotation {PREFIX}{key} {text!r} is no number of cores", next_step=f"give 1 to {MOST_CORES}, such as 6"
        )
    return int(text)


def _burst(text: str) -> int:
    return 0 if text == NONE else _cores("burst", text)


def _phase(text: str) -> str:
    if text not in (*PHASES, NONE):
        raise InvalidValue(
            f"annotation {PREFIX}phase {text!r} is not known", next_step=f"give {', '.join(PHASES)} or {NONE}"
        )
    return "" if text == NONE else text


def _name(key: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text):
        raise InvalidValue(
            f"annotation {PREFIX}{key} {text!r} is no name", next_step="give letters, digits, '.', '_' or '-'"
        )
    return text


def _time(key: str, text: str) -> str:
    wrong = InvalidValue(
        f"annotation {PREFIX}{key} {text!r} is no time over 0 and up to a day",
        next_step="give one with its unit, such as 50ms",
    )
    if not re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?(?:ms|s)", text, re.ASCII):
        raise wrong
    try:
        parse_duration(text)
    except InvalidValue as error:
        raise wrong from error
    return text
