// SPDX-License-Identifier: Apache-2.0
// The chart of the quota dialog: time of an iteration by cores, where it is now, where it would be, and the target.

import { chart, line } from "./charts.js";
import { drawn } from "./colours.js";
import { duration } from "./format.js";

const HEIGHT = 170;

export function makeCurve(place) {
  let shown = { now: 1, then: 1 };
  const mark = { size: 11, show: true, filter: (_, at) => (at === 3 ? [indexOf(shown.then)] : at === 2 ? [indexOf(shown.now)] : []) };
  const indexOf = cores => plot.data[0].indexOf(cores);
  const dots = (label, colour) => line(label, colour, { width: 0, paths: () => null, points: { ...mark, fill: () => drawn(colour), stroke: () => drawn("panel"), width: 2 } });
  const plot = chart(
    place,
    {
      height: HEIGHT,
      scales: { x: { time: false }, y: { range: (_, low, high) => [0, (high || 1) * 1.12] } },
      series: [{}, line("forecast", "accent"), dots("now", "soft"), dots("then", "accent"), line("target", "target", { dash: [8, 5] })],
      x: { values: (_, ticks) => ticks.map(String), incrs: [1, 2, 4, 8, 16], label: "cores", labelSize: 16, labelFont: "12px system-ui, sans-serif" },
      y: { values: (_, ticks) => ticks.map(tick => (tick ? duration(tick) : "0")), size: 64 },
    },
    [[], [], [], [], []],
  );
  // curve: [[cores, seconds]]; target: seconds, or null.
  return (curve, now, then, target) => {
    shown = { now, then };
    const seconds = curve.map(([, each]) => each);
    // A target that is far above would flatten the curve.
    const near = target !== null && target < 4 * Math.max(...seconds) ? target : null;
    plot.setData([curve.map(([cores]) => cores), seconds, seconds, seconds, seconds.map(() => near)]);
  };
}
