// SPDX-License-Identifier: Apache-2.0
// The daemon's wall clock, by which it tells when things happened. The browser's may be another host's.

const GRAIN_S = 10; // less may be a busy host, on which an answer is read late
let ahead = 0;

// dateHeader: of an answer that has just come; null where it has none.
export function hear(dateHeader) {
  const off = Date.parse(dateHeader) / 1000 - Date.now() / 1000;
  if (Math.abs(off - ahead) > GRAIN_S) ahead = off;
}

// Seconds since 1970.
export const now = () => Date.now() / 1000 + ahead;
