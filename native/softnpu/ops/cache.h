// SPDX-License-Identifier: Apache-2.0
//
// The executor cache that torch_npu drives (PTA*): before phase one it sets a key made of shapes and scalars and lists
// the storages of the call; a hit gives an executor with the plan of the first call and the addresses of this one.
#pragma once

#include "ops/plan.h"

namespace softnpu {

// Called at the end of phase one: keeps the plan under the thread's key, when there is one and the storages match.
void cache_store(const aclOpExecutor& executor);

}  // namespace softnpu
