# SPDX-License-Identifier: Apache-2.0
"""What the plugin tells Prometheus, at `metrics` of the configuration."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from flexnpu.errors import InvalidValue

REGISTRY = CollectorRegistry()
UNITS = Gauge("flexnpu_plugin_units", "Units that the kubelet was told of.", ["resource", "health"], registry=REGISTRY)
ALLOCATIONS = Counter(
    "flexnpu_plugin_allocations", "Answers to Allocate: given, refused.", ["resource", "answer"], registry=REGISTRY
)
REGISTRATIONS = Counter(
    "flexnpu_plugin_registrations", "Registrations at the kubelet: done, failed.", ["answer"], registry=REGISTRY
)
STARTS = Histogram(
    "flexnpu_plugin_start_seconds", "Until a container's vNPU was ready for its start.", registry=REGISTRY
)
DAEMON_UP = Gauge("flexnpu_plugin_daemon_up", "Whether flexnpud answered last.", registry=REGISTRY)


def serve(address: str) -> tuple[object, object]:
    """On HOST:PORT, until the server (the first of the two) is shut down."""
    host, _, port = address.rpartition(":")
    try:
        return start_http_server(int(port), host.strip("[]") or "0.0.0.0", REGISTRY)
    except (OSError, OverflowError) as error:
        raise InvalidValue(
            f"metrics {address!r} cannot be listened at ({error})", next_step="give HOST:PORT"
        ) from error
