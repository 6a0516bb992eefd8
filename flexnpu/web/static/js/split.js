// SPDX-License-Identifier: Apache-2.0
// The chart of a device's cores over time, with a mark for each decision that moved some.

import { chart, drop, line, stepped, timeAxis } from "./charts.js";
import { now } from "./clock.js";
import { colour, drawn } from "./colours.js";
import { byId, h, keyed, say, set } from "./dom.js";
import { clock } from "./format.js";
import { makeMarks } from "./marks.js";

const HEIGHT = 240;
const WINDOWS = { "1 minute": 60, "5 minutes": 300, "30 minutes": 1800 };

export function makeSplit(history, choose) {
  const device = h("select", { id: "split-device" });
  const span = h("select", { id: "split-span" }, Object.entries(WINDOWS).map(([name, seconds]) => h("option", { value: seconds, selected: seconds === 300 }, name)));
  const pick = h("label", { for: "split-device" }, "Device ", device);
  byId("split-controls").append(pick, h("label", { for: "split-span" }, "The last ", span));
  const place = h("div", { class: "chart" });
  const legend = h("ul", { class: "keys", "aria-label": "vNPUs in the chart" });
  const hint = h("p", { class: "soft hint" });
  byId("split-panel").append(place, legend, hint);
  let drawing = null;
  let latest = null;

  const draw = () => latest && (drawing = redraw(latest, { device, span, place, legend, hint, history, choose, drawing }));
  device.addEventListener("change", draw);
  span.addEventListener("change", draw);
  return state => {
    latest = state;
    const indices = state.devices.map(each => each.index);
    keyed(device, indices, index => index, index => h("option", { value: index }), (option, index) => say(option, String(index)));
    pick.hidden = indices.length < 2;
    draw();
  };
}

// The drawing that is there now: {plot, names, marks}, or null where there is nothing to draw.
function redraw(state, { device, span, place, legend, hint, history, choose, drawing }) {
  const index = Number(device.value);
  const known = state.devices.find(each => each.index === index);
  const from = now() - Number(span.value);
  const samples = within(history.of(index), from);
  if (!known || !samples.length) return drawing;
  const names = [...new Set(samples.flatMap(sample => Object.keys(sample.cores)))].sort(byOrder(state.vnpus));
  if (!drawing || drawing.names.join() !== names.join() || drawing.cores !== known.cores) {
    if (drawing) drop(drawing.plot);
    place.replaceChildren();
    drawing = { plot: make(place, names, known.cores), names, cores: known.cores };
    drawing.marks = makeMarks(drawing.plot, choose);
  }
  drawing.plot.setData(stacked(samples, names));
  const decisions = state.decisions.filter(each => each.moved && each.device === index && each.told_at >= samples[0].at);
  drawing.marks.show(decisions, state.chosen);
  keyed(legend, names, name => name, () => h("li", {}, h("i"), h("span")), (item, name) => {
    set(item.firstChild, "class", `swatch ${colour(name)}`);
    say(item.lastChild, name);
  });
  say(hint, described(samples, names, decisions));
  return drawing;
}

function make(place, names, cores) {
  // The top of the stack is drawn first, and each one below it over it.
  const series = names.map(name => line(name, colour(name), { width: 1, paths: stepped, fill: () => drawn(colour(name), 0.88) }));
  return chart(
    place,
    {
      height: HEIGHT,
      scales: { x: { time: true }, y: { range: [0, cores] } },
      series: [{}, ...series.reverse()],
      x: timeAxis,
      y: { incrs: [1, 2, 3, 4, 6, 8, 12, 16], label: "cores", labelSize: 16, labelFont: "12px system-ui, sans-serif" },
    },
    [[], ...names.map(() => [])],
  );
}

// From the one that was in force when the window begins.
function within(samples, from) {
  const first = samples.findLastIndex(sample => sample.at <= from);
  const found = samples.slice(Math.max(0, first));
  return found.map(sample => (sample.at < from ? { ...sample, at: from } : sample));
}

function stacked(samples, names) {
  const sums = names.map(() => []);
  for (const { cores } of samples) {
    let sum = 0;
    names.forEach((name, at) => sums[at].push((sum += cores[name] ?? 0)));
  }
  return [samples.map(sample => sample.at), ...sums.reverse()];
}

const byOrder = vnpus => (one, other) => place(vnpus, one) - place(vnpus, other) || one.localeCompare(other);
const place = (vnpus, name) => {
  const at = vnpus.findIndex(vnpu => vnpu.name === name);
  return at < 0 ? vnpus.length : at;
};

function described(samples, names, decisions) {
  const last = samples.at(-1).cores;
  const now = names.map(name => `${name} ${Number((last[name] ?? 0).toFixed(1))}`).join(", ");
  const marks = decisions.length ? ` ${decisions.length} moves by controllers since ${clock(samples[0].at)}; each mark opens one.` : "";
  return `Cores now: ${now}.${marks}`;
}
