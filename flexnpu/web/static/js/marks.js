// SPDX-License-Identifier: Apache-2.0
// Decisions on a chart: buttons over it. One of them is in the order of the Tab key; the arrow keys go to the others.

import { h, keyed, set } from "./dom.js";
import { clock, grant } from "./format.js";

const APART_PX = 14; // of those that are closer, the first is shown; the list beside the chart has all

export const moves = decision =>
  Object.entries(decision.after)
    .filter(([name, after]) => grant(after) !== grant(decision.before[name]))
    .map(([name, after]) => `${name} ${grant(decision.before[name])} → ${grant(after)}`)
    .join(", ");

export function makeMarks(plot, choose) {
  const bar = h("div", { class: "marks", role: "toolbar", "aria-label": "Decisions that moved cores" });
  plot.over.append(bar);
  bar.addEventListener("keydown", event => go(bar, event));

  const show = (decisions, chosen) => {
    const shown = spread(decisions, plot);
    keyed(bar, shown, each => each.decision.id, ({ decision }) => make(decision, choose), (button, { decision, left }) => {
      button.style.left = `${left}px`;
      set(button, "aria-pressed", String(decision.id === chosen));
    });
    const buttons = [...bar.children];
    const current = buttons.find(button => button.tabIndex === 0) ?? buttons.at(-1);
    for (const button of buttons) button.tabIndex = button === current ? 0 : -1;
  };
  return { show };
}

// One per slot of time, the oldest first: that is the order of the arrow keys. Slots stay where they are while the chart
// moves on, so that a mark that somebody is about to press stays too.
function spread(decisions, plot) {
  const width = plot.over.clientWidth;
  const slot = 2 ** Math.ceil(Math.log2(plot.posToVal(APART_PX, "x") - plot.posToVal(0, "x")));
  const slots = new Map();
  for (const decision of decisions) slots.set(Math.floor(decision.told_at / slot), decision); // the newest come first
  return [...slots.values()]
    .map(decision => ({ decision, left: plot.valToPos(decision.told_at, "x") }))
    .filter(({ left }) => left >= 0 && left <= width)
    .reverse();
}

function make(decision, choose) {
  const label = `Decision ${decision.number} at ${clock(decision.told_at)}: ${moves(decision)}`;
  return h("button", { type: "button", "aria-label": label, title: label, tabindex: -1, onclick: () => choose(decision.id) });
}

function go(bar, event) {
  const buttons = [...bar.children];
  const at = buttons.indexOf(document.activeElement);
  const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (at < 0 || next === undefined || !buttons[next]) return;
  event.preventDefault();
  buttons[at].tabIndex = -1;
  buttons[next].tabIndex = 0;
  buttons[next].focus();
}
