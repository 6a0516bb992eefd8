// SPDX-License-Identifier: Apache-2.0
// What controllers count of their services since they began, as rates of the last minute.

import { now } from "./clock.js";

const WINDOW_S = 60;

export class Rates {
  #samples = new Map(); // by controller and service: [{at, totals}]

  // controllers: as they were just read.
  see(controllers, at = now()) {
    for (const { name, since, totals } of controllers) {
      for (const each of totals?.services ?? []) {
        const key = `${name} ${each.service}`;
        let samples = this.#samples.get(key) ?? [];
        if (samples.at(-1)?.since !== since) samples = []; // another process: it counts from nothing
        samples.push({ at, since, totals: each });
        while (samples.length > 2 && samples[1].at < at - WINDOW_S) samples.shift();
        this.#samples.set(key, samples);
      }
    }
  }

  // kept: part that came within the target, null where none came; good: those per wall second. first: first tokens, of a
  // request each; output: tokens after it. null where the controller counts nothing of the kind.
  of(controller, service) {
    const samples = this.#samples.get(`${controller} ${service}`);
    if (!samples) return null;
    const [before, now] = [samples[0], samples.at(-1)];
    if (!now.totals.first_tokens && !now.totals.output_tokens) return null;
    const rate = kind => {
      const came = now.totals[kind] - before.totals[kind];
      const good = now.totals[`${kind}_in_time`] - before.totals[`${kind}_in_time`];
      return { kept: came > 0 ? good / came : null, good: now.at > before.at ? good / (now.at - before.at) : null };
    };
    return { first: rate("first_tokens"), output: rate("output_tokens") };
  }
}
