// SPDX-License-Identifier: Apache-2.0
// Carries a change of a quota out, as of the revisions that the reader saw, and follows it until it is applied.

import { changeQuota, operation, rebalance, tryRebalance } from "./api.js";

// other: who gives or takes the difference, in one transaction; null: nobody. signal: ends the waiting.
// waits(): is told when it is accepted and not applied yet. Answers seconds until it was applied, or null.
export async function change({ vnpu, cores, other, reason }, { signal, waits }) {
  const answer = other ? await move(vnpu, cores, other, reason) : await changeQuota(vnpu.name, vnpu.revision, { cores }, reason);
  let { applied, applied_after_s: after } = answer;
  while (!applied && answer.operation && !signal.aborted) {
    waits();
    ({ done: applied, applied_after_s: after } = await operation(answer.operation));
  }
  return after ?? null;
}

async function move(vnpu, cores, other, reason) {
  const moves = [
    { vnpu: vnpu.name, cores },
    { vnpu: other.name, cores: other.cores + vnpu.cores - cores },
  ];
  // A rebalance takes no If-Match; what a dry run would bring tells whether what the reader saw still holds.
  const { revisions } = await tryRebalance(moves);
  if ([vnpu, other].some(each => revisions[each.name] > each.revision + 1)) throw new Stale();
  return rebalance(moves, reason);
}

class Stale extends Error {
  status = 412;
  sentence = "somebody else has changed it meanwhile";
}
