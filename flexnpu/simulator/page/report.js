// Reads the values under the pointer off each chart. Without this script the page shows all the same, and each chart's
// table has the figures.
"use strict";
const frames = JSON.parse(document.getElementById("frames").textContent);

function short(value) {
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

function seconds(value) {
  if (value >= 1) return short(value) + " s";
  return value >= 0.001 ? short(value * 1e3) + " ms" : short(value * 1e6) + " µs";
}

const formats = { plain: short, percent: value => short(value * 100) + " %", show_seconds: seconds };

function valueAt(line, x) {
  const points = line.points;
  if (!points.length || x < points[0][0]) return null;
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (points[middle][0] <= x) low = middle; else high = middle - 1;
  }
  const [x0, y0] = points[low];
  if (line.step || low === points.length - 1) return y0;
  const [x1, y1] = points[low + 1];
  return x1 > x0 ? y0 + (y1 - y0) * (x - x0) / (x1 - x0) : y0;
}

for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const frame = frames[svg.dataset.chart];
  const tip = svg.parentElement.querySelector(".tip");
  const cross = svg.querySelector(".cross");
  const [left, top, right] = frame.box;

  function show(event) {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const at = (event.clientX - box.left) * scale;
    if (at < left || at > right) return hide();
    const part = (at - left) / (right - left);
    const [low, high, log] = frame.x;
    const x = log ? low * Math.pow(high / low, part) : low + (high - low) * part;
    tip.replaceChildren();
    const head = document.createElement("div");
    head.textContent = frame.xTitle.replace(" (log scale)", "") + ": " + formats[frame.shown[0]](x);
    tip.append(head);
    for (const line of frame.lines) {
      const value = valueAt(line, x);
      if (value === null) continue;
      const row = document.createElement("div");
      const dot = document.createElement("i");
      dot.className = "swatch";
      dot.style.background = "var(--" + (typeof line.colour === "number" ? "c" + line.colour : line.colour) + ")";
      row.append(dot, line.name + "  " + formats[frame.shown[1]](value));
      tip.append(row);
    }
    cross.setAttribute("d", "M" + at + " " + top + "V" + frame.box[3]);
    cross.setAttribute("visibility", "visible");
    tip.hidden = false;
    const figure = svg.parentElement.getBoundingClientRect();
    const inside = event.clientX - figure.left;
    tip.style.left = Math.max(4, inside > figure.width / 2 ? inside - tip.offsetWidth - 14 : inside + 14) + "px";
    tip.style.top = event.clientY - figure.top + 12 + "px";
  }
  function hide() {
    tip.hidden = true;
    cross.setAttribute("visibility", "hidden");
  }
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
  svg.addEventListener("pointerleave", hide);
}
