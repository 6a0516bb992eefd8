// SPDX-License-Identifier: Apache-2.0
// The time line of the null device, below streams, events and graphs.
#pragma once

#include <stdint.h>

#include "flexnpu_abi/acl_types.h"

// A stream without a handle is the default one. Streams and graphs live until the process ends.
struct NullGraph {
    int64_t takes_ns = 0;
};
struct NullStream {
    int64_t end_ns = 0;
    NullGraph* capturing = nullptr;
    bool destroyed = false;
};

extern "C" {
ACL_API NullStream* null_stream(void* handle);
// Puts a launch on the stream: on the time line, or into the graph that is being captured.
ACL_API void null_queue(const void* function, void* stream);
ACL_API void null_occupy(int64_t takes_ns, void* stream);
}
