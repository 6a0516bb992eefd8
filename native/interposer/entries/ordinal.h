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

// The device that a call of another family names, and its number below; null where the vNPU has none of that number.
// HCCL's own calls name the physical one already.
template <typename Number>
DeviceTenant* find_device(Number named, Number* physical) {
    if (!within(Guard::ordinal)) return to_physical(named, physical) ? &tenant.devices[named] : nullptr;
    *physical = named;
    const auto seen = static_cast<uint64_t>(to_seen(named));
    return seen < tenant.device_count ? &tenant.devices[seen] : &here();
}

// Where a memory call names its device. A number that the vNPU does not have becomes one that no machine has, so that
// the runtime refuses it (closed).
constexpr uint32_t kNowhere = INT32_MAX;

inline void locate_physical(aclrtMemLocation& location) {
    if (location.type != ACL_MEM_LOCATION_TYPE_DEVICE || within(Guard::ordinal)) return;
    if (!to_physical(location.id, &location.id)) location.id = kNowhere;
}
inline void locate_seen(aclrtMemLocation& location) {
    if (location.type != ACL_MEM_LOCATION_TYPE_DEVICE || within(Guard::ordinal)) return;
    location.id = to_seen(location.id);
}

// The ordinal of a place that locate_physical() was given; that of the thread for what is no device of the vNPU.
inline uint32_t ordinal_at(const aclrtMemLocation& physical) {
    const uint32_t seen = physical.type == ACL_MEM_LOCATION_TYPE_DEVICE ? to_seen(physical.id) : unknown_ordinal;
    return seen < tenant.device_count ? seen : here_ordinal();
}

// Whether every device of the vNPU has the number below that the program knows.
inline bool ordinals_are_physical() {
    for (uint32_t i = 0; i < tenant.device_count; ++i) {
        if (tenant.devices[i].quota.device() != static_cast<int32_t>(i)) return false;
    }
    return true;
}

}  // namespace flexnpu
