// SPDX-License-Identifier: Apache-2.0
// libruntime.so: the layer below, where every launch and every block ends.
#include <stdlib.h>

#include "nullacl.h"
#include "timeline.h"

namespace {
NullRecord record;
uint32_t own_limit[2] = {kNullCube, kNullVector};
}  // namespace

extern "C" {

ACL_API uint32_t null_limit(int type) { return own_limit[type]; }
ACL_API void null_set_limit(int type, uint32_t value) { own_limit[type] = value; }

NullRecord* null_record() { return &record; }

int rtKernelLaunch(const void* function, uint32_t blocks, void*, uint32_t, void*, void* stream) {
    __atomic_add_fetch(&record.kernels, 1, __ATOMIC_RELAXED);
    record.blocks = blocks;
    null_queue(function, stream);
    return 0;
}

aclError aclrtLaunchKernelWithHostArgsImpl(aclrtFuncHandle function, uint32_t blocks, aclrtStream stream,
                                           aclrtLaunchKernelCfg*, void* args, size_t size, aclrtPlaceHolderInfo*,
                                           size_t) {
    return rtKernelLaunch(function, blocks, args, static_cast<uint32_t>(size), nullptr, stream);
}

aclError aclrtMallocImpl(void** devPtr, size_t size, aclrtMemMallocPolicy) {
    if (size == 0) return ACL_ERROR_RT_PARAM_INVALID;
    *devPtr = malloc(1);  // an address that nobody else has
    __atomic_add_fetch(&record.allocations, 1, __ATOMIC_RELAXED);
    return ACL_SUCCESS;
}
}
