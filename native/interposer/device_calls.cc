// SPDX-License-Identifier: Apache-2.0
#include "device_calls.h"

#include <atomic>

#include "log.h"
#include "lookup.h"

namespace flexnpu {
namespace {

enum State : int { unknown, whole, lacking };

constinit std::atomic<int> state{unknown};
constinit DeviceCalls found;

template <typename Function>
bool find(Function* function, const char* name) {
    *function = reinterpret_cast<Function>(find_real(Library::runtime, name));
    if (*function != nullptr) return true;
    log(Level::warn,
        "%s is not in the runtime: what is on the device cannot be followed, shares of time are not enforced", name);
    return false;
}

// Two threads may both look; they find the same.
bool find_all(DeviceCalls* calls) {
    return find(&calls->get_context, "aclrtGetCurrentContext") && find(&calls->set_context, "aclrtSetCurrentContext") &&
           find(&calls->create_event, "aclrtCreateEventExWithFlag") && find(&calls->record, "aclrtRecordEvent") &&
           find(&calls->query, "aclrtQueryEventStatus") && find(&calls->wait, "aclrtSynchronizeEvent") &&
           find(&calls->timestamp_us, "aclrtEventGetTimestamp") &&
           find(&calls->wait_for_device, "aclrtSynchronizeDevice") &&
           find(&calls->capture_info, "aclmdlRICaptureGetInfo");
}

}  // namespace

const DeviceCalls* DeviceCalls::get() {
    int now = state.load(std::memory_order_acquire);
    if (now == unknown) {
        DeviceCalls calls{};
        now = find_all(&calls) ? whole : lacking;
        if (now == whole) found = calls;
        state.store(now, std::memory_order_release);
    }
    return now == whole ? &found : nullptr;
}

}  // namespace flexnpu
