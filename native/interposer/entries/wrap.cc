// SPDX-License-Identifier: Apache-2.0
#include "entries/wrap.h"

namespace flexnpu {

__thread uint8_t depths[static_cast<size_t>(Guard::count)];

void tell_missing(uint32_t slot) {
    char buffer[name_room];
    log(Level::error, "%s was called, and no library on LD_LIBRARY_PATH defines it", slot_name(slot, buffer));
}

}  // namespace flexnpu
