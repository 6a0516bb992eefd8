// SPDX-License-Identifier: Apache-2.0
// The split over time: by device, who had how many cores since when. The controllers' decisions tell it to the moment, and
// from before the page was opened; what else changes quotas is seen once a second.

import { held } from "./layout.js";

const KEPT = 2000; // samples of a device

export class History {
  #told = new Map(); // by device: [{at, cores: {name: cores}}] of those that moved, at in seconds since 1970
  #seen = new Map(); // by device, the same of all vNPUs
  #merged = new Map(); // by device: both, in order

  // decisions: the newest first.
  tell(decisions) {
    const told = new Map();
    for (const each of [...decisions].reverse()) {
      const samples = told.get(each.device) ?? [];
      if (!samples.length) samples.push({ at: each.told_at - 1e-3, cores: cores(each.before) });
      samples.push({ at: each.told_at, cores: cores(each.after) });
      told.set(each.device, samples);
    }
    this.#told = told;
    this.#merged.clear();
  }

  // As it is now.
  see(devices, vnpus, at) {
    for (const device of devices) {
      const samples = this.#seen.get(device.index) ?? [];
      const now = held(device, vnpus);
      const [before, last] = samples.slice(-2);
      // Of a stretch in which nothing changed, its ends are enough.
      if (last && same(last.cores, now) && same(before.cores, now)) last.at = at;
      else samples.push({ at, cores: now });
      this.#seen.set(device.index, samples.slice(-KEPT));
    }
    this.#merged.clear();
  }

  // [{at, cores}], the oldest first.
  of(device) {
    if (!this.#merged.has(device)) this.#merged.set(device, merged(this.#told.get(device) ?? [], this.#seen.get(device) ?? []));
    return this.#merged.get(device);
  }
}

// What a decision does not name stays as it was.
function merged(told, seen) {
  const whole = new Set(seen);
  let now = {};
  return [...told, ...seen]
    .sort((one, other) => one.at - other.at)
    .map(sample => ({ at: sample.at, cores: (now = whole.has(sample) ? sample.cores : { ...now, ...sample.cores }) }));
}

function cores(grants) {
  return Object.fromEntries(
    Object.entries(grants).map(([name, grant]) => [name, (grant.cores * (grant.share_percent ?? 100)) / 100]),
  );
}

function same(one, other) {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].every(name => one[name] === other[name]);
}
