// SPDX-License-Identifier: Apache-2.0
#include "clearance.h"

#include "gate.h"
#include "in_context.h"

namespace flexnpu {

void Clearance::mark() {
    const aclrtContext context = context_.load(std::memory_order_relaxed);
    const DeviceCalls* calls = context != nullptr ? DeviceCalls::get() : nullptr;
    if (calls == nullptr || Gate::captures.load(std::memory_order_relaxed) > 0) return;
    if (context != marked_in_) forget_context(marked_in_);
    marked_in_ = context;
    const InContext in(context);
    for (Place& place : places_) {
        const uint64_t name = place.stream.load(std::memory_order_relaxed);
        if (name == 0) continue;
        const auto stream = reinterpret_cast<aclrtStream>(name - 1);
        const bool made =
            place.behind != nullptr || calls->create_event(&place.behind, ACL_EVENT_TIME_LINE) == ACL_SUCCESS;
        place.pending = made && calls->record(place.behind, stream) == ACL_SUCCESS;
    }
}

bool Clearance::is_clear() {
    bool clear = true;
    for (Place& place : places_) {
        if (!place.pending) continue;
        const InContext in(marked_in_);
        aclrtEventRecordedStatus status = ACL_EVENT_RECORDED_STATUS_NOT_READY;
        const aclError error = DeviceCalls::get()->query(place.behind, &status);
        place.pending = error == ACL_SUCCESS && status != ACL_EVENT_RECORDED_STATUS_COMPLETE;
        clear = clear && !place.pending;
    }
    return clear;
}

void Clearance::forget(aclrtStream stream) {
    Place& place = place_of(stream);
    uint64_t name = name_of(stream);
    if (place.stream.compare_exchange_strong(name, 0, std::memory_order_relaxed)) place.pending = false;
}

// Its events are gone with it.
void Clearance::forget_context(aclrtContext context) {
    if (context == nullptr || context != marked_in_) return;
    for (Place& place : places_) {
        place.behind = nullptr;
        place.pending = false;
    }
    marked_in_ = nullptr;
}

void Clearance::forget_all() {
    forget_context(marked_in_);
    for (Place& place : places_) place.stream.store(0, std::memory_order_relaxed);
    context_.store(nullptr, std::memory_order_relaxed);
}

}  // namespace flexnpu
