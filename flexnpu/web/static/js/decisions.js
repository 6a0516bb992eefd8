// SPDX-License-Identifier: Apache-2.0
// The list of decisions, and beside it the one that is open.

import { showDecision } from "./decision.js";
import { byId, h, keyed, say, set } from "./dom.js";
import { clock } from "./format.js";
import { moves } from "./marks.js";

const SHOWN = 40;

export function makeDecisions(choose) {
  const all = h("input", { type: "checkbox", id: "all-decisions" });
  const list = h("ol", { class: "decisions" });
  const none = h("p", { class: "soft" });
  const detail = h("article", { class: "panel detail", "aria-labelledby": "decision-title" });
  const head = h("div", { class: "head" }, h("h3", {}, "Decisions"), h("label", { for: "all-decisions", class: "soft" }, all, " also those that moved nothing"));
  const scroll = h("div", { class: "scroll tall", tabindex: "0", role: "group", "aria-label": "Decisions, the newest first" }, none, list);
  byId("decisions").append(h("div", { class: "panel" }, head, scroll), detail);
  let latest = null;
  const show = () => {
    const { decisions, controllers, chosen } = latest;
    const shown = decisions.filter(each => all.checked || each.moved).slice(0, SHOWN);
    none.hidden = shown.length > 0;
    say(none, controllers.length ? "No controller has moved cores yet." : "No controller tells this daemon what it decides; flexnpu controller does.");
    keyed(list, shown, each => each.id, each => make(each, choose), (item, each) => {
      set(item.firstChild, "aria-pressed", String(each.id === chosen));
    });
    showDecision(detail, decisions.find(each => each.id === chosen) ?? null);
  };
  all.addEventListener("change", () => latest && show());
  return state => {
    latest = state;
    show();
  };
}

function make(decision, choose) {
  const line = h(
    "button",
    { type: "button", class: "row", onclick: () => choose(decision.id) },
    h("time", {}, clock(decision.told_at)),
    h("span", { class: "kind", "data-kind": decision.mode }, decision.mode),
    h("b", {}, decision.moved ? moves(decision) : "no move"),
    h("span", { class: "soft" }, decision.reason),
  );
  return h("li", {}, line);
}
