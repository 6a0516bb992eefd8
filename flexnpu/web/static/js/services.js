// SPDX-License-Identifier: Apache-2.0
// A panel per service that a controller serves: its targets, and how it does by them.

import { byId, h, keyed, say, set } from "./dom.js";
import { duration, number, percent } from "./format.js";
import { makeLatency } from "./latency.js";

const OFFERS = "No controller runs on this node, so there are no targets. ";
const latencies = new WeakMap();

export function makeServices(knowledge) {
  const none = h("p", { class: "panel soft" }, OFFERS, h("code", {}, "flexnpu controller"), " keeps a service's targets by moving cores between its phases.");
  const list = h("div", { class: "stack" });
  byId("service-list").append(none, list);
  return state => {
    const services = state.controllers.flatMap(controller => controller.services.map(service => ({ controller, service })));
    none.hidden = services.length > 0;
    keyed(list, services, ({ controller, service }) => `${controller.name}/${service.name}`, make, (panel, each) => update(panel, each, state, knowledge));
  };
}

function make({ controller, service }) {
  const title = `service-${controller.name}-${service.name}`;
  const panel = h(
    "article",
    { class: "panel service", "aria-labelledby": title },
    h("header", {}, h("h3", { id: title }, service.name), h("p", { class: "soft" })),
    h("div", { class: "figures" }, ["Time to first token", "Time per output token", "Goodput"].map(figure)),
  );
  latencies.set(panel, makeLatency(panel));
  return panel;
}

function figure(name) {
  return h("div", { class: "figure" }, h("h4", {}, name), h("p", { class: "big" }, h("b"), h("span", { class: "unit" })), h("p", { class: "verdict" }), h("p", { class: "soft" }));
}

function update(panel, { controller, service }, state, { gaps, rates }) {
  say(panel.querySelector("header p"), about(controller, service));
  const names = [...service.decode, ...service.engines];
  const device = state.devices.find(each => each.index === controller.devices[0]);
  const scale = device?.scale ?? 1;
  const counted = rates.of(controller.name, service.name);
  const seen = gaps.summary(names, scale, service.itl_s);
  const plan = newest(state.decisions, controller.name, service.name);
  const [first, each, good] = panel.querySelectorAll(".figure");
  showFirst(first, service, plan, counted?.first);
  showEach(each, service, seen, counted?.output);
  showGood(good, service, seen, counted, scale);
  latencies.get(panel).show(names, service, state.decisions.filter(one => one.controller === controller.name), gaps);
}

function about(controller, service) {
  const engines = [...service.prefill, ...service.decode, ...service.engines].join(", ");
  const does = controller.moves ? `mode ${controller.mode}` : `mode ${controller.mode}, moves nothing`;
  return `${service.model} on ${engines} · ${does}${controller.live ? "" : " · the controller is gone"}`;
}

// A service's part of the newest decision that had prompts before it.
function newest(decisions, controller, name) {
  const parts = decisions.filter(each => each.controller === controller).flatMap(each => each.services);
  return parts.find(each => each.service === name && each.forecast && each.inputs.prefill_tokens > 0) ?? null;
}

// What waits has its first token when the queue is through: that is what is forecast.
function showFirst(place, service, plan, counted) {
  const waiting = plan?.inputs.prefill_tokens ?? 0;
  const ahead = plan?.forecast.prefill_seconds ?? null;
  const kept = counted?.kept ?? null;
  fill(place, {
    value: kept === null ? duration(ahead) : percent(kept),
    unit: kept === null ? (ahead === null ? "" : "forecast") : "in time, last minute",
    verdict: kept === null ? judged(ahead, service.ttft_s) : share(kept),
    line: `target ${duration(service.ttft_s)}; ${ahead === null ? "no prompt has come yet" : `the newest ${number(waiting)} tokens of prompts are forecast to take ${duration(ahead)}`}`,
  });
}

function showEach(place, service, seen, counted) {
  const kept = counted?.kept ?? seen?.kept ?? null;
  fill(place, {
    value: duration(seen?.mean ?? null),
    unit: seen ? "mean of the last minute" : "",
    verdict: judged(seen?.mean ?? null, service.itl_s),
    line: `target ${duration(service.itl_s)}${kept === null ? "" : `; ${percent(kept)} of the tokens kept it`}`,
  });
}

function showGood(place, service, seen, counted, scale) {
  const requests = counted?.first.good ?? null;
  const tokens = seen?.good ?? (counted?.output.good ?? null) * scale;
  const has = seen !== null || counted !== null;
  fill(place, {
    value: has ? number(tokens) : "–",
    unit: has ? "tokens/s in time" : "",
    verdict: null,
    line: requests === null ? "output tokens that kept the target, per second of device time" : `and ${number(requests * scale)} first tokens/s in time, per second of device time`,
  });
}

function fill(place, { value, unit, verdict, line }) {
  const [big, said, soft] = place.querySelectorAll("p");
  say(big.firstChild, value);
  say(big.lastChild, unit);
  say(said, verdict?.text ?? "");
  set(said, "data-good", verdict ? String(verdict.good) : null);
  say(soft, line);
}

function judged(value, target) {
  if (value === null) return null;
  const good = value <= target;
  return { good, text: good ? `within ${duration(target)}` : `misses ${duration(target)}` };
}

const share = kept => ({ good: kept >= 0.9, text: kept >= 0.9 ? "nine in ten, or more" : "fewer than nine in ten" });

