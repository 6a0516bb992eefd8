// SPDX-License-Identifier: Apache-2.0
// Time per output token over time: as it was seen, as it was forecast, and the target.

import { chart, line, timeAxis } from "./charts.js";
import { now } from "./clock.js";
import { h, say } from "./dom.js";
import { duration } from "./format.js";

const HEIGHT = 170;
const SPAN_S = 300;

export function makeLatency(panel) {
  const place = h("div", { class: "chart" });
  const keys = h(
    "ul",
    { class: "keys", "aria-label": "Lines in the chart" },
    h("li", {}, h("i", { class: "stroke seen" }), "observed"),
    h("li", {}, h("i", { class: "stroke planned" }), "forecast"),
    h("li", {}, h("i", { class: "stroke target" }), "target"),
  );
  const none = h("p", { class: "soft" }, "No output token has been seen since the page was opened.");
  const figure = h("figure", { class: "latency" }, h("figcaption", {}, "Time per output token"), place, keys);
  panel.append(figure, none);
  let plot = null;

  const show = (names, service, decisions, gaps) => {
    const seen = gaps.series(names);
    none.hidden = seen.length > 0;
    figure.hidden = !seen.length;
    if (!seen.length) return;
    plot ??= make(place);
    plot.setData(merged(seen, planned(decisions, service.name), service.itl_s));
    say(figure.firstChild, `Time per output token, now ${duration(seen.at(-1)[1])}`);
  };
  return { show };
}

function make(place) {
  const seconds = (_, ticks) => ticks.map(tick => (tick ? duration(tick) : "0"));
  return chart(
    place,
    {
      height: HEIGHT,
      scales: { x: { time: true, range: (_, first) => [first ?? now() - SPAN_S, now()] }, y: { range: (_, low, high) => [0, (high || 1) * 1.15] } },
      series: [{}, line("observed", "seen", { spanGaps: false }), line("forecast", "planned", { dash: [2, 3], spanGaps: true }), line("target", "target", { dash: [8, 5] })],
      x: timeAxis,
      y: { values: seconds, size: 64 },
    },
    [[], [], [], []],
  );
}

// [[at, seconds]] of the decode steps that decisions were made with.
function planned(decisions, name) {
  return decisions
    .map(each => [each.told_at, each.services.find(one => one.service === name)])
    .filter(([, part]) => part?.forecast && part.phases.decode === "busy")
    .map(([at, part]) => [at, part.forecast.decode_seconds])
    .reverse();
}

function merged(seen, forecast, target) {
  const from = now() - SPAN_S;
  const rows = new Map([[now(), [undefined, undefined]]]);
  const put = (at, column, value) => {
    if (at < from) return;
    const row = rows.get(at) ?? [undefined, undefined];
    row[column] = value;
    rows.set(at, row);
  };
  let last = null;
  for (const [at, gap] of seen) {
    if (last !== null && at - last > 3) put(last + 1, 0, null); // nothing was decoded meanwhile
    put(at, 0, gap);
    last = at;
  }
  for (const [at, seconds] of forecast) put(at, 1, seconds);
  const all = [...rows].sort(([one], [other]) => one - other);
  return [all.map(([at]) => at), all.map(([, [gap]]) => gap), all.map(([, [, seconds]]) => seconds), all.map(() => target)];
}
