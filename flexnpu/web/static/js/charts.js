// SPDX-License-Identifier: Apache-2.0
// uPlot in the colours of the page.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { drawn } from "./colours.js";

const FONT = "12px system-ui, sans-serif";
const all = new Set();

export const stepped = uPlot.paths.stepped({ align: 1 });

const axis = extra => ({
  stroke: () => drawn("soft"),
  grid: { stroke: () => drawn("grid"), width: 1 },
  ticks: { stroke: () => drawn("grid"), width: 1, size: 4 },
  font: FONT,
  ...extra,
});

// A chart as wide as its place. options: as uPlot has them; x, y: of the axes.
export function chart(place, { height, x = {}, y = {}, ...options }, data) {
  const made = new uPlot(
    {
      width: Math.max(200, place.clientWidth),
      height,
      legend: { show: false },
      cursor: { points: { show: false }, drag: { x: false, y: false } },
      axes: [axis({ size: 28, ...x }), axis({ size: 56, ...y })],
      ...options,
    },
    data,
    place,
  );
  new ResizeObserver(() => {
    if (place.clientWidth) made.setSize({ width: place.clientWidth, height });
  }).observe(place);
  all.add(made);
  return made;
}

// Where a chart is not needed any more.
export function drop(made) {
  all.delete(made);
  made.destroy();
}

// A line that is drawn in a colour of the theme.
export const line = (label, colour, extra = {}) => ({ label, stroke: () => drawn(colour), width: 2, points: { show: false }, ...extra });

export const timeAxis = {
  space: 90,
  values: (_, ticks) => ticks.map(at => new Date(at * 1000).toLocaleTimeString("en-GB")),
};

document.addEventListener("flexnpu:theme", () => all.forEach(made => made.redraw(false)));
