#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""helm's post-renderer: the chart's containers on an image without files, which see those of this host by mounts.

An image of the Containerfile would need an engine and a registry; what is started, and with which rights, stays the
chart's. Reads objects on stdin and writes them to stdout.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.prefix) / "bin"


def folders() -> list[Path]:
    """What Python needs to run this checkout, none below another."""
    wanted = {Path("/usr"), ROOT, Path(sys.prefix), Path(sys.base_prefix)}
    wanted |= {Path(each) for each in sys.path if each and Path(each).is_dir()}
    return sorted(each for each in wanted if not any(each != other and each.is_relative_to(other) for other in wanted))


def add_host_files(pod: dict[str, Any], image: str) -> None:
    """To a pod's spec."""
    mounts = [{"name": f"host-{at}", "mountPath": str(each), "readOnly": True} for at, each in enumerate(folders())]
    for container in pod["containers"]:
        container["image"] = image
        container["volumeMounts"] = [*container.get("volumeMounts", []), *mounts]
        path = {"name": "PATH", "value": f"{BIN}:/usr/bin:/bin"}
        container["env"] = [*container.get("env", []), path, {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}]
    volumes = [{"name": f"host-{at}", "hostPath": {"path": str(each)}} for at, each in enumerate(folders())]
    pod["volumes"] = [*pod.get("volumes", []), *volumes]


def main() -> None:
    from images import HOST  # noqa: PLC0415 - beside this file

    objects = [each for each in yaml.safe_load_all(sys.stdin) if each]
    for each in objects:
        if each["kind"] == "DaemonSet":
            add_host_files(each["spec"]["template"]["spec"], HOST)
    yaml.safe_dump_all(objects, sys.stdout)  # what begins as JSON, helm reads as JSON to the end


if __name__ == "__main__":
    main()
