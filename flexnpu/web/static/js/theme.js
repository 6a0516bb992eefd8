// SPDX-License-Identifier: Apache-2.0
// Light, dark, or as the system has it. Not a module: it runs before the page is drawn, so that nothing flashes.
"use strict";
{
  const KEY = "flexnpu.theme";
  const root = document.documentElement;

  const show = chosen => {
    root.dataset.theme = chosen;
    document.dispatchEvent(new CustomEvent("flexnpu:theme"));
  };

  show(localStorage.getItem(KEY) ?? "auto");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(root.dataset.theme));
  document.addEventListener("DOMContentLoaded", () => {
    const choices = document.getElementById("theme");
    choices.querySelector(`[value="${root.dataset.theme}"]`).checked = true;
    choices.addEventListener("change", event => {
      localStorage.setItem(KEY, event.target.value);
      show(event.target.value);
    });
  });
}
