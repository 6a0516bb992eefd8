// SPDX-License-Identifier: Apache-2.0
// Numbers for people.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function size(bytes) {
  let at = 0;
  while (bytes >= 1024 && at < UNITS.length - 1) {
    bytes /= 1024;
    at += 1;
  }
  return `${number(bytes)} ${UNITS[at]}`;
}

// Three digits that mean something, or none.
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

// Seconds, in the unit that suits; what takes no time has none.
export function duration(seconds) {
  if (!seconds || !Number.isFinite(seconds)) return "–";
  if (Math.abs(seconds) >= 1) return `${number(seconds)} s`;
  if (Math.abs(seconds) >= 1e-3) return `${number(seconds * 1e3)} ms`;
  return `${number(seconds * 1e6)} µs`;
}

export const percent = ratio => (ratio === null || !Number.isFinite(ratio) ? "–" : `${number(ratio * 100)} %`);

// Seconds since 1970, as the wall clock has it here.
export const clock = at => new Date(at * 1000).toLocaleTimeString("en-GB");

export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export const words = name => name.replaceAll("_", " ");

// What a vNPU has, in a decision: cores, and a share of the time where it takes turns.
export function grant(record) {
  if (!record) return "gone";
  return record.share_percent === null || record.share_percent === undefined
    ? String(record.cores)
    : `${record.cores} at ${number(record.share_percent)} %`;
}
