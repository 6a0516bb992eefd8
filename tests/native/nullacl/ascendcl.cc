// SPDX-License-Identifier: Apache-2.0
// libascendcl.so: the public names, thin over the layer below.
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
    return null_places()->refuse_frees ? ACL_ERROR_RT_PARAM_INVALID : aclrtFreeImpl(devPtr);
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
aclError aclrtMemcpyAsync(void* dst, size_t room, const void* src, size_t count, aclrtMemcpyKind kind,
                          aclrtStream stream) {
    return rtMemcpyAsync(dst, room, src, count, kind, stream);
}
aclError aclrtMemcpy(void* dst, size_t room, const void* src, size_t count, aclrtMemcpyKind kind) {
    return rtMemcpy(dst, room, src, count, kind);
}
aclError aclrtMemset(void* devPtr, size_t room, int32_t value, size_t count) {
    return rtMemset(devPtr, room, static_cast<uint32_t>(value), count);
}
int aclrtLaunchSIMTKernelWithHostArgs(void* function, Dim3 grid, Dim3 block, size_t ubuf, void* stream, void* config,
                                      void* args, size_t size, void* places, size_t last) {
    return rtLaunchSIMTKernelWithHostArgs(function, grid.x * grid.y * grid.z, block.z, ubuf, stream, config, args,
                                          static_cast<uint32_t>(size), places, last);
}
int aclrtUnheardOfMalloc(void** devPtr, size_t size) { return rtMalloc(devPtr, size, 0, 0); }
int aclrtGetUnheardOfMallocInfo(void*) { return 0; }
}
