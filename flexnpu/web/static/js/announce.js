// SPDX-License-Identifier: Apache-2.0
// Says to screen readers what sighted people see happen.

import { byId } from "./dom.js";

const AGAIN_MS = 1500;
let waiting = [];
let busy = false;

export function announce(text) {
  if (waiting.at(-1) !== text) waiting.push(text);
  waiting = waiting.slice(-3); // who cannot keep up hears the newest
  if (!busy) next();
}

function next() {
  const text = waiting.shift();
  busy = text !== undefined;
  if (!busy) return;
  byId("announce").textContent = text;
  setTimeout(next, AGAIN_MS);
}
