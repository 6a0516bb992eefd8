# SPDX-License-Identifier: Apache-2.0
"""Prints docs/metrics.md, made from the tables: python -m flexnpu.api.metrics.guide > docs/metrics.md"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from flexnpu.api.metrics.aliases import TABLES as ALIASES
from flexnpu.api.metrics.page import TABLES
from flexnpu.api.metrics.rows import AnyTable

_HEAD: Final = """# Metrics

Made by `python -m flexnpu.api.metrics.guide` from the tables in flexnpu/api/metrics; a test holds it to them.

`GET /metrics` on the admin socket or `--listen`, in Prometheus's text format, for whoever may read
([api.md](api.md)). Prometheus comes over TCP, with a token that may read:

    umask 077; flexnpu token prometheus --scope read > /etc/prometheus/flexnpu.token 2>> /etc/flexnpu/tokens
    flexnpud --listen 127.0.0.1:9464 --tokens /etc/flexnpu/tokens

[deploy/prometheus](../deploy/prometheus) has a configuration for that, recording rules and alert rules with their
tests; [deploy/grafana](../deploy/grafana) a dashboard over both, to be imported.

- Base units: seconds, bytes, cores; a ratio is 0 to 1.
- `node` is the host's name, or `flexnpud --node-name`. No label is a process: what processes count is added up by their
  vNPU, with what ended ones had counted. `pod`, `namespace` and `container` are on `flexnpu_vnpu_info` alone, to be
  joined: `flexnpu_vnpu_used_cores * on(node, vnpu) group_left(namespace, pod) flexnpu_vnpu_info`. They are there once
  the device plugin has told them (`PATCH /api/v1/vnpus/{name}`, labels `namespace`, `pod` and `container`).
- A histogram is there once something was observed.
- Counters are of this daemon's life. A process that was attached to an earlier daemon counts from its return on.
- What a process counts is its own word; it can make its own vNPU's figures larger, never smaller, and no other's.
- **M**: on a software NPU the figure follows from modelled time. Figures of a free clock say little then, and none is a
  measurement of an NPU. `flexnpu_device_info` has `kind="software"` there.
- What a controller has counted is as new as its last sign of life, five seconds at most, and ends with it.
- `process_*`: the daemon's own process, as prometheus-client has it.
"""
_ALIASES: Final = """
## Names of other exporters

`flexnpud --metric-aliases npu-exporter,hami` (either or both; none by default) has these too, for dashboards that are
there, with the labels and units of the original: percents of 100, MB and KB where it has those. What the daemon does
not know (dies, PCIe addresses, temperatures, links) is an empty label or no metric.
"""
_SOURCES: Final[Mapping[str, str]] = {
    "npu-exporter": "Names from MindCluster's NPU Exporter: "
    "[component/npu-exporter](https://gitcode.com/Ascend/mind-cluster) (collector/common/constants.go, "
    "collector/metrics/collector_for_npu.go, collector_for_hbm.go, collector_for_vnpu.go) and [its documentation]"
    "(https://www.hiascend.com/document/detail/en/mindcluster/730/clustersched/schedulingug/dlug_api_004.html).",
    "hami": "Names from [HAMi](https://github.com/Project-HAMi/HAMi) (cmd/vGPUmonitor/metrics.go) and its "
    "[Ascend plugin](https://github.com/Project-HAMi/ascend-device-plugin) (internal/monitor/collector.go). "
    "Those of a container are there for a vNPU with a label `pod`.",
}


def page() -> str:
    """The page in Markdown."""
    parts = [_HEAD]
    for table in TABLES:
        parts += _section(table, "##")
    parts.append(_ALIASES)
    for alias, tables in ALIASES.items():
        for table in tables:
            heading, *rows = _section(table, "###")
            parts += [heading, f"{_SOURCES[alias]}\n\n", *rows]
    return "".join(parts)


def _section(table: AnyTable[Any], level: str) -> Iterator[str]:
    yield f"\n{level} {table.title}\n\n"
    shared = ", ".join(f"`{label}`" for label in table.labels)
    if shared:
        yield f"Labels: {shared}, and those of the row.\n\n"
    yield "| metric | type | labels | unit | meaning | |\n| --- | --- | --- | --- | --- | --- |\n"
    for row in table.rows:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        cells = (f"`{row.name}`", row.kind, labels, row.unit, row.meaning, "M" if row.modelled else "")
        yield f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    print(page(), end="")
