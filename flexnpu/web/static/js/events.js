// SPDX-License-Identifier: Apache-2.0
// What happened on the node, the newest first.

import { byId, h, keyed } from "./dom.js";
import { clock } from "./format.js";

const SHOWN = 60;

export function makeEvents() {
  const list = h("ol", { class: "events" });
  const none = h("p", { class: "soft" }, "Nothing has happened yet.");
  byId("event-list").append(h("div", { class: "panel scroll short", tabindex: "0", role: "group", "aria-label": "Events, the newest first" }, none, list));
  return ({ events }) => {
    none.hidden = events.length > 0;
    keyed(list, events.slice(0, SHOWN), event => event.id, make, () => {});
  };
}

function make(event) {
  const time = h("time", { datetime: new Date(event.at * 1000).toISOString() }, clock(event.at));
  return h("li", {}, time, h("span", { class: "kind", "data-kind": event.kind }, event.kind), h("span", {}, event.text));
}
