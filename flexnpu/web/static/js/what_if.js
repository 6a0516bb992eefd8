// SPDX-License-Identifier: Apache-2.0
// What an iteration would take on other cores: forecasts of the daemon, asked for a few core counts.

import { post } from "./api.js";

const MOST_POINTS = 8;

// Answers are kept for as long as the question is the same.
export class WhatIf {
  #known = new Map();

  // question: {model, soc, parallel, load}; load: {phase, requests, tokens}: prompts of so many tokens, or running
  // requests of that context. Answers {seconds, uncertainty, calibrated}, modelled.
  async ask({ model, soc, parallel, load }, cores, signal) {
    const body = { model, soc, tensor_parallel: parallel, [load.phase]: [`${load.requests}x${load.tokens}`], cores };
    const key = JSON.stringify(body);
    if (!this.#known.has(key)) this.#known.set(key, await post("/api/v1/forecast", body, { signal }));
    return this.#known.get(key);
  }

  // [[cores, seconds]] by rising cores, 1 and `most` and `asked` among them.
  async curve(question, most, asked, signal) {
    const found = [];
    for (const cores of points(most, asked)) found.push([cores, (await this.ask(question, cores, signal)).seconds]);
    return found;
  }
}

export function points(most, asked) {
  const step = Math.max(1, Math.ceil(most / MOST_POINTS));
  const spread = Array.from({ length: Math.floor(most / step) }, (_, at) => (at + 1) * step);
  return [...new Set([1, ...spread, most, ...asked])].filter(cores => cores >= 1 && cores <= most).sort((one, other) => one - other);
}

// What a vNPU does now, or a load to begin with where nothing is known. tenants: its programs.
export function loadOf(vnpu, tenants) {
  const step = tenants.find(each => each.vnpu === vnpu.name && each.iteration?.requests)?.iteration;
  const phase = vnpu.phase ?? (step?.phase === "prefill" ? "prefill" : "decode");
  if (!step || !step.context_sum) return { phase, requests: phase === "prefill" ? 1 : 16, tokens: 2048, seen: false };
  const tokens = phase === "prefill" ? step.new_tokens : step.context_sum;
  const least = phase === "prefill" ? 2 : 1; // one new token would be a decode step
  return { phase, requests: step.requests, tokens: Math.max(least, Math.round(tokens / step.requests)), seen: true };
}
