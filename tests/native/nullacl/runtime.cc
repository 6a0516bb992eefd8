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

int rtKernelLaunchFwk(const char*, void* args, uint32_t size, uint32_t, void* stream) {
    return rtKernelLaunch(nullptr, 1, args, size, nullptr, stream);
}
int rtKernelLaunchEx(void* args, uint32_t size, uint32_t flags, void* stream) {
    return rtKernelLaunchFwk("", args, size, flags, stream);
}
int rtKernelLaunchWithFlagV2(const void* function, uint32_t blocks, void* args, void* memory, void* stream, uint32_t,
                             const void* config) {
    record.last_argument = reinterpret_cast<uint64_t>(config);
    return rtKernelLaunch(function, blocks, args, 0, memory, stream);
}
int rtLaunchSIMTKernelWithHostArgs(void* function, uint64_t grid, uint64_t, size_t, void* stream, void*, void* args,
                                   uint32_t size, void* places, uint64_t last) {
    record.last_argument = last;
    return rtKernelLaunch(function, static_cast<uint32_t>(grid), args, size, places, stream);
}
int rtMalloc(void** devPtr, uint64_t size, uint32_t, uint16_t) {
    if (size == 0) return ACL_ERROR_RT_PARAM_INVALID;
    *devPtr = malloc(1);  // an address that nobody else has
    __atomic_add_fetch(&record.allocations, 1, __ATOMIC_RELAXED);
    return ACL_SUCCESS;
}
int rtFree(void* devPtr) {
    if (devPtr == nullptr) return ACL_ERROR_RT_PARAM_INVALID;
    free(devPtr);
    __atomic_add_fetch(&record.frees, 1, __ATOMIC_RELAXED);
    return ACL_SUCCESS;
}
int rtMemcpyAsync(void*, uint64_t, const void*, uint64_t, int, void*) {
    __atomic_add_fetch(&record.copies, 1, __ATOMIC_RELAXED);
    return 0;
}
int rtMemcpy(void* dst, uint64_t room, const void* src, uint64_t count, int kind) {
    return rtMemcpyAsync(dst, room, src, count, kind, nullptr);
}
int rtMemset(void*, uint64_t, uint32_t, uint64_t) {
    __atomic_add_fetch(&record.copies, 1, __ATOMIC_RELAXED);
    return 0;
}
int rtModelExecute(void*, void*, uint32_t) {
    __atomic_add_fetch(&record.graphs, 1, __ATOMIC_RELAXED);
    return 0;
}
int rtUnheardOfKernelLaunch(void* function) { return rtKernelLaunch(function, 1, nullptr, 0, nullptr, nullptr); }

aclError aclrtLaunchKernelWithHostArgsImpl(aclrtFuncHandle function, uint32_t blocks, aclrtStream stream,
                                           aclrtLaunchKernelCfg*, void* args, size_t size, aclrtPlaceHolderInfo*,
                                           size_t) {
    return rtKernelLaunch(function, blocks, args, static_cast<uint32_t>(size), nullptr, stream);
}

aclError aclrtMallocImpl(void** devPtr, size_t size, aclrtMemMallocPolicy) { return rtMalloc(devPtr, size, 0, 0); }
aclError aclrtFreeImpl(void* devPtr) { return rtFree(devPtr); }
}
