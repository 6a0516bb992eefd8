// SPDX-License-Identifier: Apache-2.0
// The form of the quota dialog: its fields, and nothing of what they do.

import { h } from "./dom.js";

export function makeForm() {
  const slider = h("input", { type: "range", id: "quota-cores", min: 1, step: 1, "aria-describedby": "quota-forecast" });
  const value = h("output", { for: "quota-cores", class: "value" });
  const now = h("p", { class: "soft" });
  const least = h("span", { class: "soft" }, "1");
  const most = h("span", { class: "soft" });
  const source = h("select", { id: "quota-source" });
  const model = h("select", { id: "quota-model" });
  const phase = h("select", { id: "quota-phase" }, h("option", { value: "decode" }, "decode"), h("option", { value: "prefill" }, "prefill"));
  const requests = h("input", { type: "number", id: "quota-requests", min: 1, max: 4096, required: true });
  const tokens = h("input", { type: "number", id: "quota-tokens", min: 2, max: 1_000_000, required: true });
  const loadSaid = h("p", { class: "soft" });
  const place = h("div", { class: "chart" });
  const forecast = h("div", { id: "quota-forecast", role: "status", class: "forecast" });
  const reason = h("input", { type: "text", id: "quota-reason", maxlength: 200, autocomplete: "off" });
  const warning = h("p", { class: "note" });
  const result = h("p", { class: "result", role: "status" });
  const apply = h("button", { type: "submit", class: "main" }, "Apply");
  const close = h("button", { type: "button" }, "Close");
  const title = h("h2", { id: "quota-title" });
  const field = (control, name) => h("p", { class: "field" }, h("label", { for: control.id }, name), control);
  const element = h(
    "form",
    { class: "quota" },
    h("header", {}, title, now),
    h("div", { class: "slide" }, h("div", { class: "head" }, h("label", { for: slider.id }, "Guaranteed cores"), value), slider, h("div", { class: "ends" }, least, most)),
    field(source, "Cores come from, and go to"),
    h(
      "fieldset",
      {},
      h("legend", {}, "Forecast"),
      h("div", { class: "fields" }, field(model, "Model"), field(phase, "Phase"), field(requests, "Requests"), field(tokens, "Tokens of each")),
      loadSaid,
      place,
      forecast,
    ),
    field(reason, "Reason, for the audit log"),
    warning,
    h("div", { class: "head" }, result, h("p", { class: "buttons" }, close, apply)),
  );
  return { element, title, now, slider, value, most, source, model, phase, requests, tokens, loadSaid, place, forecast, reason, warning, result, apply, close };
}
