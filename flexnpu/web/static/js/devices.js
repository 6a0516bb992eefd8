// SPDX-License-Identifier: Apache-2.0
// A card per device: its cores in a row, who holds which, and what each does.

import { colour } from "./colours.js";
import { byId, h, keyed, say, set } from "./dom.js";
import { counted, number, percent, size } from "./format.js";
import { cells, range, runs } from "./layout.js";

const MOST_IN_A_ROW = 32;

export function showDevices({ devices, vnpus }, activity) {
  keyed(byId("device-list"), devices, device => device.index, make, (card, device) => update(card, device, vnpus, activity));
}

function make(device) {
  const title = `device-${device.index}`;
  return h(
    "article",
    { class: "card device", "aria-labelledby": title },
    h("header", {}, h("h3", { id: title }), h("span", { class: "tag" }), h("p", { class: "soft" })),
    h("div", { class: "cores", role: "img" }),
    h("div", { class: "brackets", "aria-hidden": "true" }),
    h("ul", { class: "holders", "aria-label": `Who holds cores of device ${device.index}` }),
  );
}

function update(card, device, vnpus, activity) {
  const [title, tag, line] = card.querySelectorAll("h3, .tag, header p");
  say(title, `Device ${device.index}`);
  say(tag, device.kind === "software" ? "software NPU · modelled" : "Ascend NPU");
  tag.classList.toggle("modelled", device.kind === "software");
  const used = device.memory_used === null || device.memory_used === undefined ? "" : `, ${size(device.memory_used)} in use`;
  say(line, `${device.soc} · ${counted(device.cores, "core")}, ${device.cores_free} not guaranteed · ${size(device.memory_bytes)}${used}`);
  const made = cells(device, vnpus, activity.isActive);
  const perRow = device.cores <= MOST_IN_A_ROW ? device.cores : Math.ceil(device.cores / Math.ceil(device.cores / MOST_IN_A_ROW));
  card.style.setProperty("--columns", perRow);
  const picture = card.querySelector(".cores");
  keyed(picture, made.map((cell, at) => ({ cell, at })), each => each.at, () => h("i"), (element, { cell, at }) => paint(element, cell, at, activity));
  set(picture, "aria-label", described(device, made));
  showBrackets(card.querySelector(".brackets"), device.cores <= MOST_IN_A_ROW ? runs(made) : []);
  showHolders(card.querySelector(".holders"), device, vnpus, activity);
}

function paint(element, cell, at, activity) {
  const kind = cell.shared ? "shared" : cell.lentTo ? "lent" : cell.owner ? (activity.isActive(cell.owner) ? "busy" : "idle") : "free";
  const holder = cell.lentTo ?? cell.owner;
  set(element, "class", ["cell", kind, holder && colour(holder)].filter(Boolean).join(" "));
  set(element, "title", `core ${at}: ${holderOf(cell)}`);
  keyed(element, cell.shared ?? [], each => each.name, () => h("b"), (slice, each) => {
    set(slice, "class", colour(each.name));
    slice.style.flexGrow = each.share;
  });
}

function holderOf(cell) {
  if (cell.shared) return cell.shared.map(each => `${each.name} ${number(each.share)} % of the time`).join(", ");
  if (cell.lentTo) return cell.owner ? `${cell.owner}'s, lent to ${cell.lentTo}` : `lent to ${cell.lentTo}`;
  return cell.owner ?? "nobody's";
}

function described(device, made) {
  const parts = runs(made).map(({ from, count, cell }) => `${range(from, count)} ${holderOf(cell)}`);
  return `Cores of device ${device.index}: ${parts.join("; ")}`;
}

function showBrackets(row, found) {
  keyed(row, found, run => run.from, () => h("span"), (element, { from, count, cell }) => {
    element.style.gridColumn = `${from + 1} / span ${count}`;
    const holder = cell.lentTo ?? cell.owner;
    set(element, "class", holder ? colour(holder) : "nobody");
    const name = cell.shared ? "in turns" : cell.lentTo ? `lent to ${cell.lentTo}` : (cell.owner ?? "free");
    say(element, count >= 3 ? `${name} ${count}` : String(count));
  });
}

function showHolders(list, device, vnpus, activity) {
  const there = vnpus.filter(vnpu => vnpu.use.some(use => use.device === device.index));
  keyed(list, there, vnpu => vnpu.name, () => h("li", {}, h("i", { class: "swatch" }), h("b"), h("span", { class: "phase" }), h("span", { class: "soft" })), (item, vnpu) => {
    const [swatch, name, phase, line] = item.children;
    const use = vnpu.use.find(each => each.device === device.index);
    const doing = activity.phase(vnpu);
    set(swatch, "class", `swatch ${colour(vnpu.name)}`);
    say(name, vnpu.name);
    set(phase, "data-phase", doing.kind ?? "none");
    say(phase, doing.text);
    say(line, holding(vnpu, use));
  });
}

function holding(vnpu, use) {
  const share = vnpu.effective_share_percent ?? vnpu.share_percent;
  const parts = [share === null ? counted(use.granted_cores, "core") : `${counted(use.granted_cores, "core")} for ${percent(share / 100)} of the time`];
  if (use.lent_cores) parts.push(`${use.lent_cores} of them lent to it`);
  if (use.granted_cores - use.lent_cores !== vnpu.cores) parts.push(`${vnpu.cores} guaranteed`);
  if (use.held_cores > use.granted_cores) parts.push(`${use.held_cores} until it has acknowledged`);
  parts.push(`${size(use.memory_used)} of ${size(vnpu.memory_bytes)}`);
  return parts.join(", ");
}
