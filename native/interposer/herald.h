// SPDX-License-Identifier: Apache-2.0
// The one thread of ours: asleep until a grant changes, then it tells the daemon when the change is applied.
#pragma once

#include <stdint.h>

namespace flexnpu {

// Sleeps on `bell`, the control page's.
bool start_herald(const uint32_t* bell);

}  // namespace flexnpu
