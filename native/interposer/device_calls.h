// SPDX-License-Identifier: Apache-2.0
// What the gate itself asks of the device: the real functions, which none of the program's counters see.
#pragma once

#include "flexnpu_abi/acl_rt.h"

namespace flexnpu {

struct DeviceCalls {
    decltype(&::aclrtGetCurrentContext) get_context;
    decltype(&::aclrtSetCurrentContext) set_context;
    decltype(&::aclrtCreateEventExWithFlag) create_event;
    decltype(&::aclrtRecordEvent) record;
    decltype(&::aclrtQueryEventStatus) query;
    decltype(&::aclrtSynchronizeEvent) wait;
    decltype(&::aclrtEventGetTimestamp) timestamp_us;
    decltype(&::aclrtSynchronizeDevice) wait_for_device;
    decltype(&::aclmdlRICaptureGetInfo) capture_info;

    // Without one, launches are not gated (open): told once and counted. Found at the first call.
    static const DeviceCalls* get();
};

}  // namespace flexnpu
