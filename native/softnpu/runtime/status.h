// SPDX-License-Identifier: Apache-2.0
//
// The error of the last failing call of a thread, as aclGetRecentErrMsg gives it back.
#pragma once

#include <flexnpu_abi/acl_types.h>

namespace softnpu {

// Stores the message for this thread and returns the code, so that a failing entry is one line.
// Exported: libopapi.so reports through the same place.
[[gnu::format(printf, 2, 3), gnu::visibility("default")]] aclError fail(aclError code, const char* format, ...);

// The message of the thread's last failure, then forgotten; nullptr when there is none.
const char* take_message();

aclError last_error(bool forget);

}  // namespace softnpu
