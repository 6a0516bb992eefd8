// SPDX-License-Identifier: Apache-2.0
//
// What becomes of a result that passes its type's largest number (aclrtSetDeviceSatMode). By default it is infinite.
#pragma once

#include <atomic>

#include "ops/plan.h"

namespace softnpu {

// With the mode "saturation": infinite results of the call become the largest numbers of their type, those that are no
// number become 0, and overflow_seen is set. Results in lists are left as they are.
void saturate(const aclOpExecutor& executor);

extern std::atomic<bool> overflow_seen;  // since a program cleared the float status

}  // namespace softnpu
