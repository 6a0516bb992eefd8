// SPDX-License-Identifier: Apache-2.0
// The table of vNPUs: what each is guaranteed, what is in force, and the way to change it.

import { colour } from "./colours.js";
import { byId, h, keyed, say, set } from "./dom.js";
import { number, size } from "./format.js";

const COLUMNS = ["vNPU", "Device", "Cores", "Time", "Memory in use", "Programs", "Doing", "Revision", ""];

export function makeVNpus(change) {
  const body = h("tbody");
  const head = h("tr", {}, COLUMNS.map(name => h("th", { scope: "col" }, name || h("span", { class: "unseen" }, "Change"))));
  const table = h("table", {}, h("caption", { class: "unseen" }, "Virtual NPUs of this node"), h("thead", {}, head), body);
  const none = h("p", { class: "panel soft" }, "No program has a vNPU yet. ", h("code", {}, "flexnpu run --cores 12 --memory 8GiB -- python serve.py"), " makes one.");
  const scroll = h("div", { class: "panel scroll", tabindex: "0", role: "group", "aria-label": "Table of virtual NPUs" }, table);
  byId("vnpu-list").append(none, scroll);
  return ({ vnpus }, activity) => {
    none.hidden = vnpus.length > 0;
    scroll.hidden = !vnpus.length;
    keyed(body, vnpus, vnpu => vnpu.name, vnpu => make(vnpu, change), (row, vnpu) => update(row, vnpu, activity));
  };
}

function make(vnpu, change) {
  const button = h("button", { type: "button", "aria-haspopup": "dialog", onclick: () => change(vnpu.name) }, "Change", h("span", { class: "unseen" }, ` quota of ${vnpu.name}`));
  const meter = h("td", { class: "memory" }, h("meter", { min: 0 }), h("span"));
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, h("i", { class: `swatch ${colour(vnpu.name)}` }), h("span")),
    h("td"), h("td"), h("td"), meter, h("td"),
    h("td", {}, h("span", { class: "phase" })),
    h("td"),
    h("td", {}, button),
  );
}

function update(row, vnpu, activity) {
  const [name, device, cores, time, memory, programs, doing, revision] = row.children;
  const used = Math.max(0, ...vnpu.use.map(use => use.memory_used));
  const phase = activity.phase(vnpu);
  say(name.lastChild, vnpu.name);
  say(device, vnpu.devices.join(", "));
  say(cores, vnpu.lent_cores ? `${vnpu.cores} + ${vnpu.lent_cores} lent` : String(vnpu.cores));
  say(time, vnpu.share_percent === null ? "all" : `${number(vnpu.effective_share_percent ?? vnpu.share_percent)} %`);
  const [meter, text] = memory.children;
  set(meter, "max", vnpu.memory_bytes);
  set(meter, "value", used);
  set(meter, "aria-label", `memory of ${vnpu.name}`);
  say(text, `${size(used)} of ${size(vnpu.memory_bytes)}`);
  say(programs, String(vnpu.tenants));
  set(doing.firstChild, "data-phase", phase.kind ?? "none");
  say(doing.firstChild, phase.text);
  say(revision, vnpu.applied ? `${vnpu.revision}, applied` : `${vnpu.revision}, ${vnpu.applied_revision} in force`);
  revision.classList.toggle("pending", !vnpu.applied);
}
