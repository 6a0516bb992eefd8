// SPDX-License-Identifier: Apache-2.0
// Device ordinals: the program sees its vNPU as device 0, and the device below it has a number of its own.
#pragma once

#include "entries/wrap.h"

namespace flexnpu {

// False, with one line for the person, when the program names a device that it does not have.
template <typename Number>
bool to_physical(Number seen, Number* physical) {
    if (seen == 0) {
        *physical = static_cast<Number>(tenant.quota.device());
        return true;
    }
    log(Level::error, "device %lld does not exist: a vNPU has device 0 alone", static_cast<long long>(seen));
    return false;
}

template <typename Number>
Number to_seen(Number physical) {
    return physical == static_cast<Number>(tenant.quota.device()) ? Number{0} : physical;
}

// Where a memory call names its device. HCCL's own calls name the physical one already.
inline void locate_physical(aclrtMemLocation& location) {
    if (location.type != ACL_MEM_LOCATION_TYPE_DEVICE || within(Guard::ordinal)) return;
    if (location.id == 0) location.id = static_cast<uint32_t>(tenant.quota.device());
}
inline void locate_seen(aclrtMemLocation& location) {
    if (location.type != ACL_MEM_LOCATION_TYPE_DEVICE || within(Guard::ordinal)) return;
    location.id = to_seen(location.id);
}

}  // namespace flexnpu
