// SPDX-License-Identifier: Apache-2.0
// Another preloaded library with hooks of its own, which go on to the next definition.
#include <dlfcn.h>
#include <stdint.h>

#include "nullacl.h"

extern "C" {
ACL_API uint64_t* tool_calls(void);
static uint64_t calls;
uint64_t* tool_calls() { return &calls; }

aclError aclrtMalloc(void** devPtr, size_t size, aclrtMemMallocPolicy policy) {
    static const auto next = reinterpret_cast<decltype(&aclrtMalloc)>(dlsym(RTLD_NEXT, "aclrtMalloc"));
    ++calls;
    return next(devPtr, size, policy);
}

aclError aclrtLaunchKernelWithHostArgs(aclrtFuncHandle function, uint32_t blocks, aclrtStream stream,
                                       aclrtLaunchKernelCfg* cfg, void* args, size_t size, aclrtPlaceHolderInfo* places,
                                       size_t count) {
    static const auto next =
        reinterpret_cast<decltype(&aclrtLaunchKernelWithHostArgs)>(dlsym(RTLD_NEXT, "aclrtLaunchKernelWithHostArgs"));
    ++calls;
    return next(function, blocks, stream, cfg, args, size, places, count);
}
}
