// SPDX-License-Identifier: Apache-2.0
//
// What a copy costs, and whether it is carried out when math is skipped.
#pragma once

#include <cstdint>

#include "device/device.h"

namespace softnpu {

// With math skipped, device memory is not touched by large copies; up to this size they are carried out, since token
// ids, lengths and flags ride on them.
constexpr uint64_t kSmallCopy = 64 * 1024;

// Between the host and a device, inside a device, or between two.
struct Copy {
    void* destination;
    const void* source;
    uint64_t bytes;
    bool touches_device;
    Cost cost;
};

Copy plan_copy(void* destination, const void* source, uint64_t bytes);
// Moves the bytes, or not when the device skips math.
void carry_out(const Copy& copy, const Device& device);
void carry_out_fill(void* destination, int32_t value, uint64_t bytes, const Device& device);
Cost fill_cost(uint64_t bytes);

}  // namespace softnpu
