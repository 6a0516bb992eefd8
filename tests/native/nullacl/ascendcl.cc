// SPDX-License-Identifier: Apache-2.0
// libascendcl.so: the public names, thin over the layer below.
#include <stdlib.h>

#include "nullacl.h"

extern "C" {
uint32_t null_limit(int type);
void null_set_limit(int type, uint32_t value);

aclError aclInit(const char*) { return ACL_SUCCESS; }
aclError aclFinalize() { return ACL_SUCCESS; }

aclError aclrtGetDeviceCount(uint32_t* count) {
    *count = kNullDevices;
    return ACL_SUCCESS;
}
aclError aclrtGetDeviceInfo(uint32_t, aclrtDevAttr attr, int64_t* value) {
    *value = attr == ACL_DEV_ATTR_VECTOR_CORE_NUM ? kNullVector : attr == ACL_DEV_ATTR_WARP_SIZE ? 32 : kNullCube;
    return ACL_SUCCESS;
}
aclError aclGetDeviceCapability(uint32_t, aclDeviceInfo info, int64_t* value) {
    *value = info == ACL_DEVICE_INFO_AI_CORE_NUM ? kNullCube : kNullVector;
    return ACL_SUCCESS;
}
aclError aclrtGetResInCurrentThread(aclrtDevResLimitType type, uint32_t* value) {
    *value = null_limit(type);
    return ACL_SUCCESS;
}
aclError aclrtGetDeviceResLimit(int32_t, aclrtDevResLimitType type, uint32_t* value) {
    *value = null_limit(type);
    return ACL_SUCCESS;
}
aclError aclrtSetDeviceResLimit(int32_t, aclrtDevResLimitType type, uint32_t value) {
    null_set_limit(type, value);
    return ACL_SUCCESS;
}

aclError aclrtMalloc(void** devPtr, size_t size, aclrtMemMallocPolicy policy) {
    return aclrtMallocImpl(devPtr, size, policy);
}
aclError aclrtMallocWithCfg(void** devPtr, size_t size, aclrtMemMallocPolicy policy, aclrtMallocConfig*) {
    return aclrtMallocImpl(devPtr, size, policy);
}
aclError aclrtFree(void* devPtr) {
    if (devPtr == nullptr || null_places()->refuse_frees) return ACL_ERROR_RT_PARAM_INVALID;
    free(devPtr);
    __atomic_add_fetch(&null_record()->frees, 1, __ATOMIC_RELAXED);
    return ACL_SUCCESS;
}
aclError aclrtGetMemInfo(aclrtMemAttr, size_t* free, size_t* total) {
    *free = *total = kNullMemory;
    return ACL_SUCCESS;
}

aclError aclrtLaunchKernelWithHostArgs(aclrtFuncHandle function, uint32_t blocks, aclrtStream stream,
                                       aclrtLaunchKernelCfg* cfg, void* args, size_t size, aclrtPlaceHolderInfo* places,
                                       size_t count) {
    return aclrtLaunchKernelWithHostArgsImpl(function, blocks, stream, cfg, args, size, places, count);
}
aclError aclrtMemcpyAsync(void*, size_t, const void*, size_t, aclrtMemcpyKind, aclrtStream) { return ACL_SUCCESS; }
}
