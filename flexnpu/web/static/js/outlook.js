// SPDX-License-Identifier: Apache-2.0
// What the forecast says of a change, in a sentence per vNPU and a curve over cores.

import { h, keyed } from "./dom.js";
import { counted, duration, percent } from "./format.js";
import { serviceOf } from "./subject.js";
import { WhatIf, loadOf } from "./what_if.js";

export class Outlook {
  #whatIf = new WhatIf();
  #asking = new AbortController();

  // about: as subject.js has it; cores: that it would have; load: of the vNPU itself. draw(curve, now, then, target).
  async show(place, draw, { about, cores, load, model, state }) {
    this.#asking.abort();
    const { signal } = (this.#asking = new AbortController());
    const { vnpu, other, device } = about;
    const ask = (of, now, then, what) => this.#compare({ of, now, then, load: what, model, device, state, signal });
    try {
      const lines = [await ask(vnpu, vnpu.cores, cores, load)];
      if (other) lines.push(await ask(other, other.cores, other.cores + vnpu.cores - cores, loadOf(other, state.tenants)));
      showLines(place, lines);
      const curve = await this.#whatIf.curve(question(vnpu, load, model, device), device.cores, [vnpu.cores, cores], signal);
      draw(curve, vnpu.cores, cores, lines[0].target);
    } catch (problem) {
      if (!signal.aborted) showLines(place, [{ text: `No forecast: ${problem.sentence ?? problem.message}` }]);
    }
  }

  stop() {
    this.#asking.abort();
  }

  async #compare({ of, now, then, load, model, device, state, signal }) {
    const asked = question(of, load, model, device);
    const before = await this.#whatIf.ask(asked, now, signal);
    const after = await this.#whatIf.ask(asked, then, signal);
    const service = serviceOf(state.controllers, of.name);
    const target = service && (load.phase === "decode" ? service.itl_s : service.ttft_s);
    return { name: of.name, what: load.phase === "decode" ? "a decode step" : "the prompts", now, then, before, after, target };
  }
}

const question = (vnpu, load, model, device) => ({ model, soc: device.soc, parallel: vnpu.devices.length, load });

function showLines(place, lines) {
  keyed(place, lines, line => line.name ?? line.text, () => h("p"), (element, line) => {
    element.replaceChildren(...(line.text ? [line.text] : sentence(line)));
  });
}

function sentence({ name, what, now, then, before, after, target }) {
  const change = after.seconds / before.seconds - 1;
  const holds = target === null ? "" : `, ${after.seconds <= target ? "within" : "over"} the target of ${duration(target)}`;
  return [
    h("b", {}, `${name}: `),
    `${what} on ${counted(now, "core")} ${duration(before.seconds)}`,
    now === then ? "" : h("b", {}, `, on ${then} ${duration(after.seconds)}`),
    now === then ? "" : ` (${change > 0 ? "+" : "−"}${percent(Math.abs(change))})`,
    `${holds}. `,
    h("span", { class: "soft" }, `Modelled${after.calibrated ? "" : ", not calibrated"}, ± ${percent(after.uncertainty)}.`),
  ];
}
