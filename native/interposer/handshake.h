// SPDX-License-Identifier: Apache-2.0
// The conversation with the daemon: one hello, one welcome, the pages.
#pragma once

#include "flexnpu/page.h"

namespace flexnpu {

struct Pages {
    const flexnpu_control_page* control = nullptr;
    flexnpu_report_page* report = nullptr;
    flexnpu_ledger_page* ledger = nullptr;
    flexnpu_hail_page* hails = nullptr;
    uint32_t slot = FLEXNPU_NO_SLOT;  // in the ledger
    int socket = -1;                  // stays open for the tenant's life: its end is how the daemon sees ours
    unsigned long socket_inode = 0;   // tells whether the descriptor is still this connection
    int report_fd = -1;               // kept for a daemon that comes after this one
    int ledger_fd = -1;
};

// nobody: no daemon listens, or one that ends before its welcome. refused: what asking again would not change soon.
enum class Hands { shaken, nobody, refused };

// May block for some seconds. Where hands are not shaken, `why` holds one line for a person, and nothing is left open
// or mapped.
Hands shake_hands(const char* socket_path, const char* vnpu, Pages* pages, char (&why)[512]);

// Goes back to a daemon that has started anew, with the pages that this process has counted on. On success the new
// control and hail pages stand where the old ones did and the new connection has the old one's number; on failure
// everything is as before. `connecting` holds the descriptor under way, so that a fork's child can close it.
Hands shake_hands_again(const char* socket_path, const char* vnpu, Pages* pages, int* connecting, char (&why)[512]);

// Whether the connection has ended, or is not the process's any more. Never blocks.
bool is_hung_up(const Pages& pages);
// Whether somebody is at the other end of a connection; what is no connection any more has nobody either.
bool peer_is_there(int socket);

void let_go(Pages* pages);

}  // namespace flexnpu
