// SPDX-License-Identifier: Apache-2.0
// libascendcl.so: which device a thread works with, and the calls that name a place.
#include <stdlib.h>

#include "nullacl.h"

namespace {

struct Context {
    int32_t device;
};

Context primary[kNullDevices] = {{0}, {1}, {2}, {3}};
thread_local Context* current = nullptr;

bool exists(const aclrtMemLocation& place) {
    return place.type != ACL_MEM_LOCATION_TYPE_DEVICE || place.id < kNullDevices;
}

}  // namespace

extern "C" {

NullPlaces* null_places() {
    static NullPlaces places;
    return &places;
}

aclError aclrtSetDevice(int32_t deviceId) {
    null_record()->device = deviceId;
    current = &primary[deviceId];
    return ACL_SUCCESS;
}
aclError aclrtGetDevice(int32_t* deviceId) {
    if (current == nullptr) return ACL_ERROR_RT_CONTEXT_NULL;
    *deviceId = current->device;
    return ACL_SUCCESS;
}
aclError aclrtResetDevice(int32_t) {
    current = nullptr;
    return ACL_SUCCESS;
}
aclError aclrtCreateContext(aclrtContext* context, int32_t deviceId) {
    *context = new Context{deviceId};
    return aclrtSetCurrentContext(*context);
}
aclError aclrtSetCurrentContext(aclrtContext context) {
    current = static_cast<Context*>(context);
    return ACL_SUCCESS;
}
aclError aclrtGetCurrentContext(aclrtContext* context) {
    *context = current;
    return current != nullptr ? ACL_SUCCESS : ACL_ERROR_RT_CONTEXT_NULL;
}
aclError aclrtDestroyContext(aclrtContext context) {
    if (current == context) current = nullptr;
    delete static_cast<Context*>(context);
    return ACL_SUCCESS;
}
aclError aclrtDeviceCanAccessPeer(int32_t* canAccessPeer, int32_t deviceId, int32_t peerDeviceId) {
    *canAccessPeer = deviceId != peerDeviceId ? 1 : 0;
    null_places()->peer = static_cast<uint32_t>(peerDeviceId);
    return ACL_SUCCESS;
}
aclError aclrtDeviceEnablePeerAccess(int32_t peerDeviceId, uint32_t) {
    null_places()->peer = static_cast<uint32_t>(peerDeviceId);
    return ACL_SUCCESS;
}
aclError aclrtMemcpyBatch(void**, size_t*, void**, size_t*, size_t, aclrtMemcpyBatchAttr* attrs, size_t*, size_t,
                          size_t*) {
    null_places()->batch_places[0] = attrs[0].dstLoc.id;
    null_places()->batch_places[1] = attrs[0].srcLoc.id;
    return ACL_SUCCESS;
}

aclError aclrtMallocPhysical(aclrtDrvMemHandle* handle, size_t size, const aclrtPhysicalMemProp* prop, uint64_t) {
    if (!exists(prop->location)) return ACL_ERROR_RT_INVALID_DEVICEID;
    null_record()->device = static_cast<int32_t>(prop->location.id);
    return aclrtMallocImpl(handle, size, ACL_MEM_MALLOC_HUGE_FIRST);
}
aclError aclrtFreePhysical(aclrtDrvMemHandle handle) { return aclrtFree(handle); }
aclError aclrtMapMem(void*, size_t, size_t, aclrtDrvMemHandle, uint64_t) { return ACL_SUCCESS; }
aclError aclrtUnmapMem(void*) { return ACL_SUCCESS; }
aclError aclrtMemRetainAllocationHandle(void*, aclrtDrvMemHandle* handle) {
    *handle = malloc(1);
    return ACL_SUCCESS;
}
aclError aclrtMemAllocManaged(void** ptr, uint64_t size, uint32_t) {
    return aclrtMallocImpl(ptr, size, ACL_MEM_MALLOC_HUGE_FIRST);
}

aclError aclrtMemPoolCreate(aclrtMemPool* memPool, const aclrtMemPoolProps* props) {
    if (!exists(props->location)) return ACL_ERROR_RT_INVALID_DEVICEID;
    *memPool = malloc(1);
    return ACL_SUCCESS;
}
aclError aclrtMemPoolDestroy(const aclrtMemPool memPool) {
    free(memPool);
    return ACL_SUCCESS;
}
aclError aclrtMemPoolMallocAsync(void** ptr, size_t size, aclrtMemPool, aclrtStream) {
    return aclrtMallocImpl(ptr, size, ACL_MEM_MALLOC_HUGE_FIRST);
}
aclError aclrtMemPoolFreeAsync(void* ptr, aclrtStream) { return aclrtFree(ptr); }
aclError aclrtMemPoolTrimTo(aclrtMemPool, size_t) { return ACL_SUCCESS; }
aclError aclrtMemPoolGetAttr(aclrtMemPool, aclrtMemPoolAttr, void* value) {
    *static_cast<uint64_t*>(value) = null_places()->pool_reserve;
    return ACL_SUCCESS;
}
}
