// SPDX-License-Identifier: Apache-2.0
#include "runtime/copy.h"

#include <cstring>

#include "runtime/process.h"

namespace softnpu {

namespace {

// s, a DMA descriptor and its doorbell; of the order of the vendor's vector-operator constant
constexpr double kCopySetup = 2e-6;

Cost dma_cost() {
    Cost cost{};
    cost.unit = Unit::copy;
    cost.fixed_s = kCopySetup;
    cost.cube_rate = 1.0;
    return cost;
}

bool moves(const Device& device, uint64_t bytes) { return !device.skip_math() || bytes <= kSmallCopy; }

}  // namespace

Copy plan_copy(void* destination, const void* source, uint64_t bytes) {
    const Process& process = Process::get();
    const DeviceState* const to = process.device_of(destination);
    const DeviceState* const from = process.device_of(source);
    Cost cost = dma_cost();
    const auto count = static_cast<double>(bytes);
    if (to != nullptr && to == from) {
        cost.hbm_bytes = 2.0 * count;
    } else if (to != nullptr || from != nullptr) {
        cost.hbm_bytes = count;
        (to != nullptr && from != nullptr ? cost.peer_bytes : cost.link_bytes) = count;
    }
    return {destination, source, bytes, to != nullptr || from != nullptr, cost};
}

void carry_out(const Copy& copy, const Device& device) {
    if (!copy.touches_device || moves(device, copy.bytes)) {
        std::memmove(copy.destination, copy.source, copy.bytes);
    }
}

void carry_out_fill(void* destination, int32_t value, uint64_t bytes, const Device& device) {
    if (moves(device, bytes)) {
        std::memset(destination, value, bytes);
    }
}

Cost fill_cost(uint64_t bytes) {
    Cost cost = dma_cost();
    cost.hbm_bytes = static_cast<double>(bytes);
    return cost;
}

}  // namespace softnpu
