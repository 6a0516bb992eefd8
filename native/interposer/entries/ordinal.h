// SPDX-License-Identifier: Apache-2.0
// Device ordinals: the program counts the devices of its vNPU from 0, and the devices below have numbers of their own.
#pragma once

#include "entries/wrap.h"

namespace flexnpu {

// False, with one line for the person, when the program names a device that it does not have.
template <typename Number>
bool to_physical(Number seen, Number* physical) {
    if (static_cast<uint64_t>(seen) < tenant.device_count) {
        *physical = static_cast<Number>(tenant.devices[seen].quota.device());
        return true;
    }
    log(Level::error, "device %lld does not exist: this vNPU has devices 0 to %u", static_cast<long long>(seen),
        tenant.device_count - 1);
    return false;
}

// A device that is not the vNPU's keeps its number.
template <typename Number>
Number to_seen(Number physical) {
    for (uint32_t i = 0; i < tenant.device_count; ++i) {
        if (physical == static_cast<Number>(tenant.devices[i].quota.device())) return static_cast<Number>(i);
    }
    return physical;
}

// Where a memory call names its device. HCCL's own calls name the physical one already.
inline void locate_physical(aclrtMemLocation& location) {
    if (location.type != ACL_MEM_LOCATION_TYPE_DEVICE || within(Guard::ordinal)) return;
    if (location.id < tenant.device_count) {
        location.id = static_cast<uint32_t>(tenant.devices[location.id].quota.device());
    }
}
inline void locate_seen(aclrtMemLocation& location) {
    if (location.type != ACL_MEM_LOCATION_TYPE_DEVICE || within(Guard::ordinal)) return;
    location.id = to_seen(location.id);
}

}  // namespace flexnpu
