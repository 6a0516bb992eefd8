# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG text: lines, steps and stacked areas with axes, rules and direct labels.

Drawn here because a report must open anywhere without a library. Colours are CSS variables of the page (`--c0`…), so
one drawing serves light and dark; each line also has a dash of its own, for who sees no colours. Coordinates are
rounded, so equal data give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 78, 128, 22, 52
CLEAR = 20  # at the right of a plot without labels
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2", "12 4", "1 4", "4 6")
_LABEL_GAP = 15  # between two labels at the right

Point = tuple[float, float]
Show = Callable[[float], str]


def plain(value: float) -> str:
    """Three digits, no exponent where a person would write none."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(value: float) -> str:
    """Three digits; more where 99.96 % would else be shown as all."""
    for digits in (3, 4, 6):
        shown = f"{value * 100:.{digits}g}"
        if shown != "100" or value >= 1:
            break
    return f"{shown} %"


@dataclass(frozen=True, slots=True)
class Axis:
    """`low` and `high` are shown; `log` spaces decades evenly and needs both over 0."""

    title: str
    low: float
    high: float
    show: Show = plain
    log: bool = False

    def place(self, value: float) -> float:
        """0 at `low`, 1 at `high`; values outside stay at the edge."""
        if self.log:
            value = max(value, self.low)
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return min(max(part, 0.0), 1.0)

    def ticks(self) -> list[float]:
        return _decades(self.low, self.high) if self.log else _round_steps(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Line:
    """`colour` is a number of the page's palette, or a name of it; `step` holds each value until the next point."""

    name: str
    points: Sequence[Point]
    colour: int | str
    step: bool = False
    dots: bool = False
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A line across the plot, such as a target."""

    name: str
    value: float
    vertical: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """One plot. `areas` are stacked from the bottom, in the order given."""

    key: str  # an id, unique on the page
    title: str
    description: str
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()
    areas: Sequence[Line] = ()
    rules: Sequence[Rule] = ()
    labels: bool = True  # names at the ends of lines; else the page has a key
    height: int = HEIGHT

    @property
    def right(self) -> int:
        return RIGHT if self.labels and self.lines else CLEAR

    def svg(self) -> str:
        parts = [*self._axes(), *self._areas(), *self._rules(), *self._lines(), *self._labels(), self._cross()]
        inner = "\n".join(parts)
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-labelledby="{self.key}-t {self.key}-d" '
            f'data-chart="{self.key}">\n<title id="{self.key}-t">{escape(self.title)}</title>\n'
            f'<desc id="{self.key}-d">{escape(self.description)}</desc>\n{inner}\n</svg>'
        )

    def frame(self) -> dict[str, object]:
        """What the page's script needs to read a value under the pointer."""
        x = self.x
        return {
            "x": [x.low, x.high, x.log],
            "box": [LEFT, TOP, WIDTH - self.right, self.height - BOTTOM],
            "xTitle": x.title,
            "shown": [x.show.__name__, self.y.show.__name__],  # the script has a function of each name
            "lines": [
                {"name": line.name, "colour": line.colour, "step": line.step, "points": rounded(line.points)}
                for line in (*self.areas, *self.lines)
            ],
        }

    def _x(self, value: float) -> float:
        return round(LEFT + self.x.place(value) * (WIDTH - LEFT - self.right), 1)

    def _y(self, value: float) -> float:
        bottom = self.height - BOTTOM
        return round(bottom - self.y.place(value) * (bottom - TOP), 1)

    def _axes(self) -> Iterator[str]:
        bottom, right = self.height - BOTTOM, WIDTH - self.right
        for value in self.y.ticks():
            y = self._y(value)
            yield f'<path class="grid" d="M{LEFT} {y}H{right}"/>'
            yield f'<text class="tick" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{escape(self.y.show(value))}</text>'
        for value in self.x.ticks():
            x = self._x(value)
            yield f'<path class="grid" d="M{x} {bottom}v5"/>'
            shown = escape(self.x.show(value))
            yield f'<text class="tick" x="{x}" y="{bottom + 19}" text-anchor="middle">{shown}</text>'
        yield f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>'
        middle = (LEFT + right) / 2
        name = escape(self.x.title)
        yield f'<text class="name" x="{middle:g}" y="{self.height - 9}" text-anchor="middle">{name}</text>'
        turn = f'transform="translate(16 {(TOP + bottom) / 2:g}) rotate(-90)"'
        yield f'<text class="name" {turn} text-anchor="middle">{escape(self.y.title)}</text>'

    def _areas(self) -> Iterator[str]:
        base: list[float] = []
        for area in self.areas:
            if not area.points:
                continue
            base = base or [0.0] * len(area.points)
            top = [low + value for low, (_, value) in zip(base, area.points, strict=True)]
            xs = [self._x(x) for x, _ in area.points]
            ends = [*xs[1:], self._x(self.x.high)]
            outline = [f"{x} {self._y(y)}H{end}" for x, y, end in zip(xs, top, ends, strict=True)]
            back = [f"{end} {self._y(y)}H{x}" for x, y, end in zip(xs, base, ends, strict=True)]
            path = "M" + "L".join([*outline, *reversed(back)]) + "Z"
            yield f'<path class="area c{area.colour}" d="{path}"><title>{escape(area.name)}</title></path>'
            base = top

    def _lines(self) -> Iterator[str]:
        for line in self.lines:
            if not line.points:
                continue
            dash = DASHES[line.colour % len(DASHES)] if isinstance(line.colour, int) else ""
            kind = f"line c{line.colour}" + " strong" * line.strong
            pattern = f' stroke-dasharray="{dash}"' if dash else ""
            title = f"<title>{escape(line.name)}</title>"
            yield f'<path class="{kind}"{pattern} d="{self._path(line)}">{title}</path>'
            if line.dots:
                for x, y in line.points:
                    yield f'<circle class="dot c{line.colour}" cx="{self._x(x)}" cy="{self._y(y)}" r="3.2"/>'

    def _path(self, line: Line) -> str:
        placed = [(self._x(x), self._y(y)) for x, y in line.points]
        path = [f"M{placed[0][0]} {placed[0][1]}"]
        for (x, y), before in zip(placed[1:], placed, strict=False):
            if (x, y) != before:
                path.append(f"H{x}V{y}" if line.step else f"L{x} {y}")
        return "".join(path)

    def _rules(self) -> Iterator[str]:
        for rule in self.rules:
            axis = self.x if rule.vertical else self.y
            if not axis.low <= rule.value <= axis.high:
                continue
            if rule.vertical:
                x = self._x(rule.value)
                yield f'<path class="rule" d="M{x} {TOP}V{self.height - BOTTOM}"/>'
                yield f'<text class="note" x="{x}" y="{TOP - 5}" text-anchor="middle">{escape(rule.name)}</text>'
            else:
                y = self._y(rule.value)
                yield f'<path class="rule" d="M{LEFT} {y}H{WIDTH - self.right}"/>'
                yield f'<text class="note" x="{LEFT + 4}" y="{y - 4}">{escape(rule.name)}</text>'

    def _labels(self) -> Iterator[str]:
        """Names at the right, pushed apart so that none covers another, each with a thin line to its own."""
        if not self.labels:
            return
        named = [line for line in self.lines if line.points and isinstance(line.colour, int)]
        ends = [(self._y(line.points[-1][1]), self._x(line.points[-1][0]), line) for line in named]
        ends.sort(key=lambda end: end[0])
        places = _apart([y for y, _, _ in ends], TOP, self.height - BOTTOM + 12)
        for place, (y, x, line) in zip(places, ends, strict=True):
            right = WIDTH - self.right
            yield f'<path class="lead c{line.colour}" d="M{x} {y}L{right + 4} {place}h6"/>'
            kind = "label" + " strong" * line.strong
            yield f'<text class="{kind}" x="{right + 13}" y="{round(place + 4, 1)}">{escape(line.name)}</text>'

    def _cross(self) -> str:
        return f'<path class="cross" d="M0 {TOP}V{self.height - BOTTOM}" visibility="hidden"/>'


def rounded(points: Sequence[Point]) -> list[list[float]]:
    """Points with the digits that can be seen, so that the page stays small."""
    return [[float(f"{x:.5g}"), float(f"{y:.4g}")] for x, y in points]


def _apart(places: list[float], low: float, high: float) -> list[float]:
    """The rising places moved so that neighbours are a label's height apart."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + _LABEL_GAP) if moved else max(place, low))
    limit = high
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - _LABEL_GAP
    return [round(place, 1) for place in moved]


def _round_steps(low: float, high: float) -> list[float]:
    """Three to seven ticks at 1, 2 or 5 times a power of ten."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= 6)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, with others between them where there is room, every other one where there is none."""
    first, last, span = math.floor(math.log10(low)), math.ceil(math.log10(high)), math.log10(high / low)
    factors = (1, 2, 5) if span <= 2 else (1, 3) if span <= 3 else (1,)
    stride = 1 if span <= 6 else 2 if span <= 12 else 4
    found = [factor * 10.0**power for power in range(first, last + 1, stride) for factor in factors]
    return [float(f"{value:.3g}") for value in found if low * 0.999 <= value <= high * 1.001]


def nice_high(value: float) -> float:
    """The next 1, 1.5, 2, 3, 4, 5 or 8 times a power of ten; 1 for nothing."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if factor * power >= value * (1 - 1e-9))


def sample(colour: int) -> str:
    """A line as it looks in a plot, for the key of the page."""
    pattern = f' stroke-dasharray="{DASHES[colour % len(DASHES)]}"' if DASHES[colour % len(DASHES)] else ""
    return f'<svg viewBox="0 0 30 8" aria-hidden="true"><path class="line c{colour}"{pattern} d="M1 4H29"/></svg>'
