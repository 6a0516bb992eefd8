// SPDX-License-Identifier: Apache-2.0
// One decision: what was seen, what was forecast, what else was weighed, why, and what came of it.

import { h, keyed } from "./dom.js";
import { clock, duration, number, percent, words } from "./format.js";
import { moves } from "./marks.js";

// Drawn anew only where it is another one, or more is known of it.
export function showDecision(place, decision) {
  const version = decision ? `${decision.id}/${decision.outcomes.length}` : "none";
  keyed(place, [decision], () => version, () => (decision ? whole(decision) : nothing()), () => {});
}

function nothing() {
  return h("div", {}, h("h3", { id: "decision-title" }, "No decision is open"), h("p", { class: "soft" }, "Choose one in the list or on the chart: its inputs, its forecast, what else was weighed, and why."));
}

function whole(decision) {
  return h(
    "div",
    {},
    h("h3", { id: "decision-title", tabindex: "-1" }, decision.moved ? moves(decision) : "No move"),
    h(
      "p",
      { class: "soft" },
      `Decision ${decision.number} of ${decision.controller} on device ${decision.device} at ${clock(decision.told_at)} · ${decision.mode}`,
    ),
    h("p", { class: "reason" }, decision.reason),
    carriedOut(decision),
    decision.services.map(service => ofService(service, decision.outcomes.filter(each => each.service === service.service))),
  );
}

function carriedOut({ applied, planned_in_wall_seconds: planned, seen_after_wall_seconds: seen }) {
  const parts = [];
  if (seen) parts.push(`noticed ${duration(seen)} after the step began`);
  if (planned) parts.push(`planned in ${duration(planned)}`);
  if (applied?.done) parts.push(`applied in ${duration(applied.wall_seconds)}`);
  else if (applied) parts.push(applied.error ? `not applied: ${applied.error}` : "not applied in time");
  return parts.length ? h("p", { class: "facts" }, `${parts.join(", ")} (wall time).`) : null;
}

function ofService(service, outcomes) {
  return h(
    "section",
    { "aria-label": `Service ${service.service}` },
    h("h4", {}, `Service ${service.service}`, h("span", { class: "soft" }, ` · ${service.mode}`)),
    service.reason ? h("p", {}, service.reason) : null,
    facts("Inputs", flat(service.inputs)),
    service.alternatives.length || service.forecast ? weighed(service) : null,
    outcomes.map(outcome),
  );
}

function facts(title, pairs) {
  if (!pairs.length) return null;
  return h("div", {}, h("h5", {}, title), h("dl", {}, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}

// {prefill: {waiting: 3}} as [["prefill waiting", "3"]]; what is not known is left out.
function flat(values, before = "") {
  return Object.entries(values).flatMap(([name, value]) => {
    if (value === null) return [];
    if (typeof value === "object") return flat(value, `${before}${words(name)} `);
    return [[before + words(name), typeof value === "number" ? number(value) : String(value)]];
  });
}

const same = (one, other) => one && other && JSON.stringify([one.mode, one.split, one.steps, one.budget]) === JSON.stringify([other.mode, other.split, other.steps, other.budget]);

function weighed({ forecast, alternatives }) {
  const rows = alternatives.some(each => same(each, forecast)) || !forecast ? alternatives : [forecast, ...alternatives];
  const names = ["", "Mode", "Cores", "Prefill", "Decode step", "Tokens/s", "Verdict"];
  const head = h("tr", {}, names.map(name => h("th", { scope: "col" }, name || h("span", { class: "unseen" }, "Chosen"))));
  const body = rows.map(each => row(each, same(each, forecast)));
  return h(
    "div",
    {},
    h("h5", {}, "Forecast of each alternative"),
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Alternatives" }, h("table", { class: "tight" }, h("caption", { class: "unseen" }, "Alternatives and their forecasts"), h("thead", {}, head), h("tbody", {}, body))),
  );
}

const split = ({ mode, split: cores }) => (!cores ? "–" : mode === "split" ? `${cores.prefill} / ${cores.decode}` : String(cores.prefill));

function row(each, chosen) {
  return h(
    "tr",
    { class: chosen ? "chosen" : null },
    h("td", {}, chosen ? "✓" : "", chosen ? h("span", { class: "unseen" }, "chosen") : null),
    h("td", {}, each.mode ?? "–"),
    h("td", {}, split(each)),
    h("td", {}, duration(each.prefill_seconds)),
    h("td", {}, duration(each.decode_seconds)),
    h("td", {}, number(each.tokens_per_second)),
    h("td", { class: "text" }, each.verdict ?? "–"),
  );
}

function outcome(came) {
  const { decode_forecast_seconds: planned, decode_observed_seconds: seen } = came;
  const pairs = [["held for", duration(came.held_seconds)]];
  if (seen !== null && seen !== undefined) {
    pairs.push(["time per output token, forecast", duration(planned)], ["time per output token, observed", duration(seen)]);
    if (planned) pairs.push(["off by", percent(seen / planned - 1)]);
  }
  if (came.prefill_observed_tokens_per_second) {
    pairs.push(["prompt tokens per second, observed", number(came.prefill_observed_tokens_per_second)]);
    if (came.prefill_forecast_tokens_per_second) pairs.push(["forecast", number(came.prefill_forecast_tokens_per_second)]);
  }
  return facts("What came of it", pairs);
}
