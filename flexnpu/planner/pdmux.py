# SPDX-License-Identifier: Apache-2.0
"""SGLang's pd-multiplexing (from Drift, arXiv 2504.14489): a fixed table, cores per phase by the decode batch.

The table was made for the 132 SMs of an H200; here each row's decode part is scaled to the device at hand, to the
nearest count that it may have. Only while both phases have work; else the one that has takes the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from flexnpu.planner.lanes import lanes, nearest, need_budget, whole_device
from flexnpu.planner.plan import Looks, Plan
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, SnapshotError


class Row(NamedTuple):
    """SMs per phase from that many running requests on."""

    prefill: int
    decode: int
    batch: int


TABLE = (
    Row(112, 20, 1),
    Row(104, 28, 5),
    Row(96, 36, 10),
    Row(80, 52, 15),
    Row(64, 68, 20),
    Row(56, 76, 25),
)


@dataclass(frozen=True, slots=True)
class PdMux:
    """table: rows by rising batch."""

    table: tuple[Row, ...] = TABLE
    budget: int | None = None
    name: str = "pdmux"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.BATCH

    def __post_init__(self) -> None:
        need_budget("pdmux", self.budget)
        batches = [row.batch for row in self.table]
        if not batches or batches != sorted(set(batches)):
            raise SnapshotError(f"pdmux table has rows from batches {batches}; give at least one, by rising batch")

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        budget = self.budget or snapshot.budget
        running = snapshot.running
        if not running or not snapshot.prompts:
            return whole_device(snapshot, forecaster, budget)
        row = next((row for row in reversed(self.table) if running >= row.batch), self.table[0])
        wanted = row.decode / (row.prefill + row.decode) * snapshot.device_cores
        why = f"the row from batch {row.batch}, {row.prefill} + {row.decode}, scaled to {snapshot.device_cores} cores"
        return lanes(snapshot, forecaster, nearest(snapshot.decode_cores, wanted), budget, why)
