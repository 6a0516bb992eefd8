// SPDX-License-Identifier: Apache-2.0
#include "ops/overflow.h"

#include <flexnpu_abi/acl_rt.h>

#include "ops/op.h"

namespace softnpu {

std::atomic<bool> overflow_seen{false};

void saturate(const aclOpExecutor& executor) {
    aclrtFloatOverflowMode mode = ACL_RT_OVERFLOW_MODE_INFNAN;
    if (aclrtGetDeviceSatMode(&mode) != ACL_SUCCESS || mode != ACL_RT_OVERFLOW_MODE_SATURATION) {
        return;
    }
    Arguments arguments(executor);
    for (const Argument& argument : executor.plan->arguments) {
        const auto* slot = std::get_if<TensorSlot>(&argument);
        if (slot == nullptr || !slot->result || slot->index < 0) {
            continue;
        }
        at::Tensor result = arguments.view(slot->index);
        if (at::isFloatingType(result.scalar_type()) && !at::isfinite(result).all().item<bool>()) {
            overflow_seen.store(true);
            result.nan_to_num_(0.0);  // infinities become the largest numbers of the type
        }
    }
}

}  // namespace softnpu
