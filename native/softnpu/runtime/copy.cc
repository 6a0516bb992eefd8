// SPDX-License-Identifier: Apache-2.0
#include "runtime/copy.h"

#include "runtime/device_state.h"

namespace softnpu {

namespace {
constexpr double kCopySetup =
    2e-6;  // s, a DMA descriptor and its doorbell; of the order of the vendor's vector-operator constant
}

bool must_carry_out(const Device& device, uint64_t bytes, bool touches_device) {
    return !touches_device || !device.skip_math() || bytes <= kSmallCopy;
}

Cost copy_cost(const DeviceState& device, const void* destination, const void* source, uint64_t bytes) {
    const bool inside = device.is_device_memory(destination) && device.is_device_memory(source);
    Cost cost{};
    cost.unit = Unit::copy;
    cost.hbm_bytes = inside ? 2.0 * static_cast<double>(bytes) : static_cast<double>(bytes);
    cost.link_bytes = inside ? 0.0 : static_cast<double>(bytes);
    cost.fixed_s = kCopySetup;
    cost.cube_rate = 1.0;
    return cost;
}

Cost fill_cost(uint64_t bytes) {
    Cost cost{};
    cost.unit = Unit::copy;
    cost.hbm_bytes = static_cast<double>(bytes);
    cost.fixed_s = kCopySetup;
    cost.cube_rate = 1.0;
    return cost;
}

}  // namespace softnpu
