// SPDX-License-Identifier: Apache-2.0
// The conversation with the daemon: one hello, one welcome, the pages.
#pragma once

#include "flexnpu/page.h"

namespace flexnpu {

struct Pages {
    const flexnpu_control_page* control = nullptr;
    flexnpu_report_page* report = nullptr;
    flexnpu_ledger_page* ledger = nullptr;
    uint32_t slot = FLEXNPU_NO_SLOT;  // in the ledger
    int socket = -1;                  // stays open for the tenant's life: its end is how the daemon sees ours
};

// May block for some seconds. False: `why` holds one line for a person, and nothing is left open or mapped.
bool shake_hands(const char* socket_path, const char* vnpu, Pages* pages, char (&why)[512]);

void let_go(Pages* pages);

}  // namespace flexnpu
