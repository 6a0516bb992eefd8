// SPDX-License-Identifier: Apache-2.0
// ASCEND_RT_VISIBLE_DEVICES, which means one thing outside of a vNPU and another inside. Outside, before `flexnpu run`,
// it says which of the node's devices the runtime counts, and the daemon's numbers go by that. Inside, a program or the
// shell that starts it narrows its vNPU: the list counts the vNPU's devices. The runtime must then not see the list, so
// it is given the outer one back, and the inner one goes to children as FLEXNPU_VISIBLE_DEVICES.
#pragma once

#include <stdint.h>

#include "flexnpu/page.h"

namespace flexnpu {

// Puts first in `order` what the program sees, in its order, then the rest of the vNPU's `count` devices. Gives how
// many it sees; 0: the list is none, and `why` holds one line for a person.
uint32_t choose_visible(uint32_t count, uint32_t (&order)[FLEXNPU_DEVICES], char (&why)[512]);

}  // namespace flexnpu
