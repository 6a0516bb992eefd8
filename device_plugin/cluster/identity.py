# SPDX-License-Identifier: Apache-2.0
"""Whose a vNPU is: the labels that the device plugin gives it, by the kubelet's word."""

from __future__ import annotations

from dataclasses import dataclass

from flexnpu.client import VNpu


@dataclass(frozen=True, slots=True)
class Owner:
    """A container of a pod."""

    namespace: str
    pod: str
    container: str


def pod_of(vnpu: VNpu) -> Owner | None:
    """None where it was made for no pod, or it is not known yet for which."""
    labels = vnpu.labels
    if not {"namespace", "pod", "container"} <= labels.keys():
        return None
    return Owner(labels["namespace"], labels["pod"], labels["container"])
