// SPDX-License-Identifier: Apache-2.0
// Who is at work, and on what: from what the daemon counts of each tenant, and from the steps of engines as they begin.

const BUSY_FOR_MS = 1500;

export class Activity {
  #counted = new Map(); // launches by pid
  #busyUntil = new Map(); // by vNPU
  #phase = new Map(); // by vNPU, of its newest step

  // tenants: as they were just read.
  count(tenants, now = performance.now()) {
    const before = this.#counted;
    this.#counted = new Map(tenants.map(each => [each.pid, each.launched]));
    for (const each of tenants) {
      if (each.launched > (before.get(each.pid) ?? each.launched)) this.#busyUntil.set(each.vnpu, now + BUSY_FOR_MS);
      if (each.iteration && !this.#phase.has(each.vnpu)) this.#phase.set(each.vnpu, each.iteration.phase);
    }
  }

  // A step of an engine has begun.
  step(step, now = performance.now()) {
    this.#phase.set(step.vnpu, step.phase);
    this.#busyUntil.set(step.vnpu, now + BUSY_FOR_MS);
  }

  isActive = (name, now = performance.now()) => (this.#busyUntil.get(name) ?? 0) > now;

  // What its programs do, or are there for: "idle" where they have launched nothing lately.
  phase(vnpu, now = performance.now()) {
    const kind = this.#phase.get(vnpu.name) ?? vnpu.phase;
    if (!vnpu.tenants) return { text: vnpu.phase ? `for ${vnpu.phase}, no program` : "no program", kind: null };
    if (!this.isActive(vnpu.name, now)) return { text: kind && kind !== "idle" ? `idle (${kind})` : "idle", kind: null };
    return { text: kind ?? "busy", kind };
  }
}
