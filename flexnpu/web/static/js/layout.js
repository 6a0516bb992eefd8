// SPDX-License-Identifier: Apache-2.0
// Who holds which cores of a device, as cells in a row. Pure: from what the API tells to what is drawn.
//
// The daemon counts cores and does not number them: the ranges are those of the vNPUs in the order in which they were
// made, those that take turns in time next, then what nobody holds.

const here = (vnpu, device) => vnpu.use.find(use => use.device === device.index);

// [{owner, lentTo, shared: [{name, share}]}]: a cell per core. owner null: nobody's. shared: those that take turns on it.
export function cells(device, vnpus, isActive) {
  const placed = vnpus.filter(vnpu => here(vnpu, device));
  const alone = placed.filter(vnpu => vnpu.share_percent === null);
  const turns = placed.filter(vnpu => vnpu.share_percent !== null);
  const made = [];
  for (const vnpu of alone) {
    const use = here(vnpu, device);
    add(made, use.granted_cores - use.lent_cores, () => ({ owner: vnpu.name, lentTo: null, shared: null }));
  }
  if (turns.length) {
    const shared = turns.map(vnpu => ({ name: vnpu.name, share: vnpu.effective_share_percent ?? vnpu.share_percent }));
    add(made, Math.max(...turns.map(vnpu => here(vnpu, device).granted_cores)), () => ({ owner: null, lentTo: null, shared }));
  }
  add(made, device.cores - made.length, () => ({ owner: null, lentTo: null, shared: null }));
  made.length = device.cores; // in the middle of a move the sum may be more for a moment
  for (const vnpu of alone) lend(made, vnpu.name, here(vnpu, device).lent_cores, isActive);
  return made;
}

function add(made, count, cell) {
  for (let left = count; left > 0; left -= 1) made.push(cell());
}

// Lent cores are nobody's, or those of who idles.
function lend(made, name, count, isActive) {
  const free = made.filter(cell => !cell.owner && !cell.shared && !cell.lentTo);
  const idle = made.filter(cell => cell.owner && cell.owner !== name && !cell.lentTo && !isActive(cell.owner));
  for (const cell of [...free, ...idle.reverse()].slice(0, Math.max(0, count))) cell.lentTo = name;
}

// Runs of cells that are alike: [{from, count, cell}].
export function runs(made) {
  const found = [];
  made.forEach((cell, at) => {
    const last = found.at(-1);
    if (last && alike(last.cell, cell)) last.count += 1;
    else found.push({ from: at, count: 1, cell });
  });
  return found;
}

const alike = (one, other) =>
  one.owner === other.owner && one.lentTo === other.lentTo && Boolean(one.shared) === Boolean(other.shared);

// "0 to 11", as it is read out.
export const range = (from, count) => (count === 1 ? String(from) : `${from} to ${from + count - 1}`);

// Cores of each vNPU on a device now, of those who take turns the part of them that they have the time of.
export function held(device, vnpus) {
  const found = {};
  for (const vnpu of vnpus) {
    const use = here(vnpu, device);
    const share = vnpu.effective_share_percent ?? vnpu.share_percent;
    if (use) found[vnpu.name] = share === null ? use.granted_cores : (use.granted_cores * share) / 100;
  }
  return found;
}
