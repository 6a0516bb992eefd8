// SPDX-License-Identifier: Apache-2.0
// The split over time: by device, who had how many cores since when. What was before the page was opened is told by the
// controllers' decisions; from then on it is seen.

import { held } from "./layout.js";

const KEPT = 2000; // samples of a device

export class History {
  #samples = new Map(); // by device: [{at, cores: {name: cores}}], at in seconds since 1970

  // decisions: the newest first. Only what is older than the first sample is taken from them.
  tell(decisions) {
    const told = new Map();
    for (const each of [...decisions].reverse()) {
      const samples = told.get(each.device) ?? [];
      if (!samples.length) samples.push({ at: each.told_at - 1e-3, cores: cores(each.before) });
      samples.push({ at: each.told_at, cores: { ...samples.at(-1).cores, ...cores(each.after) } });
      told.set(each.device, samples);
    }
    for (const [device, samples] of told) {
      const seen = this.#samples.get(device)?.filter(sample => sample.seen) ?? [];
      const older = seen.length ? samples.filter(sample => sample.at < seen[0].at) : samples;
      this.#samples.set(device, [...older, ...seen].slice(-KEPT));
    }
  }

  see(devices, vnpus, at = Date.now() / 1000) {
    for (const device of devices) {
      const samples = this.#samples.get(device.index) ?? [];
      const now = held(device, vnpus);
      const [before, last] = samples.slice(-2);
      // Of a stretch in which nothing changed, its ends are enough.
      if (last?.seen && same(last.cores, now) && before?.seen && same(before.cores, now)) last.at = at;
      else samples.push({ at, cores: now, seen: true });
      this.#samples.set(device.index, samples.slice(-KEPT));
    }
  }

  of(device) {
    return this.#samples.get(device) ?? [];
  }
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
