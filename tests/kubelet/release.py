# SPDX-License-Identifier: Apache-2.0
"""The chart on the cluster, and pods that use what it offers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import images
from machine import Machine, eventually

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/flexnpu"
NAMESPACE = "flexnpu-system"
TENANT = (Path(__file__).parent / "tenant.py").read_text()
CORES, MEMORY = "flexnpu.io/cores", "flexnpu.io/memory"
VALUES = (
    "devices.kind=software",
    "devices.software.count=2",
    "plugin.config.unhealthy_after=2s",
    "plugin.config.forget_after=2s",
    "agent.taint=NoSchedule",
    "networkPolicy.enabled=true",
)


class Release:
    """`helm install`, and what follows."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.values = [*VALUES]

    def install(self) -> None:
        self.machine.kubectl("create", "namespace", NAMESPACE)
        self._helm("install")
        self.ready()

    def upgrade(self, *values: str) -> None:
        self.values += values
        self._helm("upgrade")

    def ready(self) -> None:
        for name in ("daemon", "plugin"):
            self.machine.kubectl("rollout", "status", f"ds/flexnpu-{name}", "-n", NAMESPACE, "--timeout=180s")

    def pod_of(self, component: str) -> dict[str, Any]:
        """The one that runs; there is one node."""
        found = self.machine.get("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/component={component}")["items"]
        [pod] = [each for each in found if "deletionTimestamp" not in each["metadata"]]
        return pod

    def logs(self) -> str:
        """Of all its containers; for a person who looks at a failure."""
        told = []
        for component, container in (("daemon", "flexnpud"), ("plugin", "plugin"), ("plugin", "agent")):
            selector = f"app.kubernetes.io/component={component}"
            options = ["-n", NAMESPACE, "-l", selector, "-c", container, "--tail=40"]
            told.append(f"--- {container}\n{self.machine.kubectl('logs', *options, check=False)}")
        return "\n".join(told)

    def _helm(self, verb: str) -> None:
        renderer = self.machine.root / "host-files"
        # helm starts it without arguments.
        renderer.write_text(f"#!/bin/sh\nexec {sys.executable} {Path(__file__).parent / 'host_files.py'}\n")
        renderer.chmod(0o755)
        options = [option for value in self.values for option in ("--set", value)]
        self.machine.helm(verb, "flexnpu", str(CHART), "-n", NAMESPACE, "--post-renderer", str(renderer), *options)


Size = tuple[int, int]  # cores, and memory in GiB


class Pod:
    """A pod whose container main runs tenant.py, in an image that knows nothing of FlexNPU."""

    def __init__(self, machine: Machine, name: str, **annotations: str) -> None:
        self.machine, self.name = machine, name
        self._annotations = {f"flexnpu.io/{key}": value for key, value in annotations.items()}

    def create(self, cores: int = 6, memory: int = 16, *, init: Size | None = None, side: Size | None = None) -> Pod:
        """init, side: of containers of these names, before and beside main."""
        others = [_container("side", _limits(side))] if side else []
        before = [_container("init", _limits(init), "once")] if init else []
        return self._create([_container("main", _limits((cores, memory))), *others], before)

    def create_with(self, **limits: int) -> Pod:
        """Of other resources than cores and memory."""
        return self._create([_container("main", {f"flexnpu.io/{name}": count for name, count in limits.items()})])

    def _create(self, containers: list[dict[str, Any]], before: Sequence[dict[str, Any]] = ()) -> Pod:
        spec: dict[str, Any] = {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": containers,
            "initContainers": [*before],
            "volumes": [{"name": "usr", "hostPath": {"path": "/usr"}}],
        }
        meta = {"name": self.name, "annotations": self._annotations, "labels": {"test": "pod"}}
        self.machine.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        return self

    def get(self) -> dict[str, Any]:
        return self.machine.get("pod", self.name)

    @property
    def phase(self) -> str:
        return self.get()["status"].get("phase", "")

    def lines(self, container: str = "main") -> list[dict[str, Any]]:
        """What its program says of itself."""
        told = self.machine.kubectl("logs", self.name, "-c", container, check=False).splitlines()
        return [json.loads(line) for line in told if line.startswith("{")]

    def says(self, container: str = "main", **wanted: float) -> dict[str, Any]:
        """Its last line, once it has these values."""

        def found() -> dict[str, Any] | None:
            status = self.get()["status"]
            assert status.get("phase") != "Failed", status
            lines = self.lines(container)
            return lines[-1] if lines and wanted.items() <= lines[-1].items() else None

        return eventually(found, what=f"{self.name}/{container} with {wanted}")

    def annotate(self, **annotations: str | None) -> float:
        """When the API server had answered; None takes one away."""
        told = [
            f"flexnpu.io/{key}-" if value is None else f"flexnpu.io/{key}={value}" for key, value in annotations.items()
        ]
        self.machine.kubectl("annotate", "--overwrite", "pod", self.name, *told)
        return time.time()

    def status(self) -> dict[str, Any]:
        """What became of its annotations, for main."""
        annotations = self.get()["metadata"].get("annotations") or {}
        return json.loads(annotations.get("flexnpu.io/status", "{}")).get("main", {})

    def restarts(self) -> tuple[str, int]:
        """Of its one container."""
        [container] = self.get()["status"]["containerStatuses"]
        return container["containerID"], container["restartCount"]


def _limits(size: Size) -> dict[str, int]:
    return dict(zip((CORES, MEMORY), size, strict=True))


def _container(name: str, limits: dict[str, int], *arguments: str) -> dict[str, Any]:
    return {
        "name": name,
        "image": images.HOST,
        "command": ["/usr/bin/python3", "-c", TENANT, *arguments],
        "resources": {"limits": limits},
        "volumeMounts": [{"name": "usr", "mountPath": "/usr", "readOnly": True}],
        "securityContext": {
            "runAsUser": 1000,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def delete_pods(machine: Machine) -> None:
    """Without their grace: else a kubelet 1.20 keeps the objects until it collects sandboxes, once a minute."""
    machine.kubectl("delete", "pods", "-l", "test=pod", "--grace-period=0", "--force")
