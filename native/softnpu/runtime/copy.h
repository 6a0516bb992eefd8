// SPDX-License-Identifier: Apache-2.0
//
// What a copy costs, and whether it is carried out when math is skipped.
#pragma once

#include <cstdint>

#include "device/device.h"

namespace softnpu {

class DeviceState;

// With math skipped, device memory is not touched by large copies; up to this size they are carried out, since token
// ids, lengths and flags ride on them.
constexpr uint64_t kSmallCopy = 64 * 1024;

bool must_carry_out(const Device& device, uint64_t bytes, bool touches_device);
Cost copy_cost(const DeviceState& device, const void* destination, const void* source, uint64_t bytes);
Cost fill_cost(uint64_t bytes);

}  // namespace softnpu
