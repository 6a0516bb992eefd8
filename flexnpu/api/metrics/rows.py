# SPDX-License-Identifier: Apache-2.0
"""A metric as a row of a table, and a table as Prometheus's families. What /metrics has, docs/metrics.md has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, Literal, Protocol, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from flexnpu.tenancy import Buckets

_Seen = TypeVar("_Seen")
_Name = TypeVar("_Name", bound=str)
_All = TypeVar("_All")
_In_contra = TypeVar("_In_contra", contravariant=True)
Kind = Literal["gauge", "counter", "histogram"]
Labels = tuple[str, ...]
Value = float | Buckets
Samples = Mapping[Labels, Value]


@dataclass(frozen=True, slots=True)
class Row(Generic[_Seen]):
    """A metric. unit: of its value. labels: beside those of its table. samples: by these. modelled: on a software NPU
    the value follows from the modelled time of its operators."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    samples: Callable[[_Seen], Samples]
    labels: Labels = ()
    modelled: bool = False

    @property
    def series(self) -> list[str]:
        """Names of its series, as queries use them."""
        parts = ("_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return [self.name + part for part in parts]


def one(value: Callable[[_Seen], Value | None]) -> Callable[[_Seen], Samples]:
    """Of a row without labels of its own; None: there is none."""

    def samples(seen: _Seen) -> Samples:
        found = value(seen)
        return {} if found is None else {(): found}

    return samples


def each(values: Callable[[_Seen], Mapping[_Name, Value]]) -> Callable[[_Seen], Samples]:
    """Of a row with one label of its own."""
    return lambda seen: {(name,): value for name, value in values(seen).items()}


def info(labels: Callable[[_Seen], Labels]) -> Callable[[_Seen], Samples]:
    """1, with what does not change often as labels."""
    return lambda seen: {labels(seen): 1}


class AnyTable(Protocol[_In_contra]):
    """A table, whatever its rows are about."""

    @property
    def title(self) -> str: ...

    @property
    def labels(self) -> Labels: ...

    @property
    def rows(self) -> Sequence[Row[Any]]: ...

    def families(self, seen: _In_contra) -> Iterator[Metric]: ...


@dataclass(frozen=True, slots=True)
class Table(Generic[_All, _Seen]):
    """Metrics of one kind of thing. labels: what names the thing. things: of all that was seen, by these."""

    title: str
    labels: Labels
    rows: Sequence[Row[_Seen]]
    things: Callable[[_All], Iterable[tuple[Labels, _Seen]]]

    def families(self, seen: _All) -> Iterator[Metric]:
        things = list(self.things(seen))
        for row in self.rows:
            yield _family(row, self.labels, things)


def _family(row: Row[_Seen], labels: Labels, things: Sequence[tuple[Labels, _Seen]]) -> Metric:
    names = (*labels, *row.labels)
    if row.kind == "histogram":
        histogram = HistogramMetricFamily(row.name, row.meaning, labels=names)
        for values, value in _values(row, things):
            assert isinstance(value, Buckets)
            if value.total:  # most vNPUs never wait; empty histograms would be half of the page
                histogram.add_metric(values, _cumulative(value), value.sum)
        return histogram
    family = (CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily)(row.name, row.meaning, labels=names)
    for values, value in _values(row, things):
        assert not isinstance(value, Buckets)
        family.add_metric(values, value)
    return family


def _values(row: Row[_Seen], things: Sequence[tuple[Labels, _Seen]]) -> Iterator[tuple[Labels, Value]]:
    for named, thing in things:
        for own, value in row.samples(thing).items():
            yield (*named, *own), value


def _cumulative(value: Buckets) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, value.bounds), "+Inf"]
    return list(zip(bounds, accumulate(value.counts), strict=True))
