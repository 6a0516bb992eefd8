// SPDX-License-Identifier: Apache-2.0
// What the quota dialog is about, from what is known now. Pure.

// otherName: the vNPU that cores come from and go to; empty: those that nobody is guaranteed. null where the vNPU is gone.
export function subject({ vnpus, devices, controllers }, name, otherName = "") {
  const vnpu = vnpus.find(each => each.name === name);
  if (!vnpu) return null;
  const device = devices.find(each => each.index === vnpu.device);
  const other = vnpus.find(each => each.name === otherName) ?? null;
  const free = Math.min(...vnpu.devices.map(index => devices.find(each => each.index === index).cores_free));
  const alone = vnpu.share_percent === null;
  return {
    vnpu,
    device,
    other,
    free,
    most: alone ? vnpu.cores + (other ? other.cores - 1 : free) : device.cores,
    partners: vnpus.filter(each => each.name !== name && movesWith(vnpu, each)).map(each => each.name),
    controller: controllers.find(each => each.live && each.moves && each.services.some(one => serves(one, name))) ?? null,
  };
}

// The service that a vNPU is of, or null: its model and targets.
export const serviceOf = (controllers, name) =>
  controllers.flatMap(each => each.services).find(each => serves(each, name)) ?? null;

const serves = (service, name) => [...service.prefill, ...service.decode, ...service.engines].includes(name);

const movesWith = (one, other) =>
  one.share_percent === null && other.share_percent === null && String(one.devices) === String(other.devices);
