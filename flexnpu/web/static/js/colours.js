// SPDX-License-Identifier: Apache-2.0
// A colour for each vNPU, the same in every part of the page, and the colours of the theme for what is drawn on a canvas.

const COUNT = 8;
const known = new Map();

// Class of a colour; css/base.css has the colours.
export function colour(name) {
  if (!known.has(name)) known.set(name, known.size % COUNT);
  return `c${known.get(name)}`;
}

// A colour of css/base.css as the theme has it now, as rgb(...).
export function drawn(name, opacity = 1) {
  if (!resolved.has(name)) {
    probe.style.color = `var(--${name})`;
    resolved.set(name, getComputedStyle(probe).color);
  }
  const found = resolved.get(name);
  return opacity === 1 ? found : found.replace("rgb(", "rgba(").replace(")", `, ${opacity})`);
}

const resolved = new Map();
const probe = document.createElement("i");
probe.hidden = true;
document.body.append(probe);
document.addEventListener("flexnpu:theme", () => resolved.clear());
