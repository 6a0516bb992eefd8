// SPDX-License-Identifier: Apache-2.0
// Times per output token, from the steps of engines as they begin: the gap between two decode steps of a process is what
// each request in it waited for its next token. All times are device seconds.

import { now as clock } from "./clock.js";

const KEPT_S = 300;
const WINDOW_S = 60;
const PAUSE_S = 1; // a longer gap, and ten times the target, is one in which nobody waited

export class Gaps {
  #last = new Map(); // step by pid
  #seen = new Map(); // by vNPU: [{at, gap, tokens}], at in seconds since 1970

  // scale: wall seconds of a device second; target: seconds, or null.
  step(step, scale, target, at = clock()) {
    const last = this.#last.get(step.pid);
    this.#last.set(step.pid, step);
    if (!last || step.number !== last.number + 1 || !decodes(step) || !decodes(last)) return;
    const gap = (step.at_s - last.at_s) / scale;
    if (gap <= 0 || gap > Math.max(PAUSE_S, 10 * (target ?? 0))) return;
    const seen = this.#seen.get(step.vnpu) ?? [];
    seen.push({ at, gap, tokens: last.requests });
    while (seen[0].at < at - KEPT_S) seen.shift();
    this.#seen.set(step.vnpu, seen);
  }

  // Of the last minute, over these vNPUs; null where none was seen. kept: part of the tokens that came within the target;
  // good: so many of them per device second.
  summary(names, scale, target, now = clock()) {
    const recent = this.#of(names).filter(each => each.at > now - WINDOW_S);
    const tokens = sum(recent, each => each.tokens);
    if (!tokens) return null;
    const good = sum(recent.filter(each => each.gap <= target), each => each.tokens);
    const span = Math.max(1, now - Math.min(...recent.map(each => each.at))) / scale;
    return { mean: sum(recent, each => each.gap * each.tokens) / tokens, kept: good / tokens, good: good / span };
  }

  // A point per second: [[at, mean gap]].
  series(names) {
    const buckets = new Map();
    for (const { at, gap, tokens } of this.#of(names)) {
      const bucket = buckets.get(Math.floor(at)) ?? { gap: 0, tokens: 0 };
      bucket.gap += gap * tokens;
      bucket.tokens += tokens;
      buckets.set(Math.floor(at), bucket);
    }
    return [...buckets].map(([at, { gap, tokens }]) => [at, gap / tokens]).sort(([one], [other]) => one - other);
  }

  #of(names) {
    return names.flatMap(name => this.#seen.get(name) ?? []);
  }
}

const decodes = step => step.phase === "decode" && step.requests > 0;
const sum = (items, value) => items.reduce((total, each) => total + value(each), 0);
