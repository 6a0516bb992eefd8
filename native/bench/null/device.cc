// SPDX-License-Identifier: Apache-2.0
// libruntime.so of the null device: the functions that have something to answer.
#include "null/device.h"

#include <stdlib.h>
#include <time.h>

namespace {

char anything[64];  // what handles of streams and graphs point at

uint32_t cores_of(aclrtDevResLimitType type) { return type == ACL_RT_DEV_RES_CUBE_CORE ? kNullCube : kNullVector; }

}  // namespace

extern "C" {

ACL_API aclError aclrtGetDeviceCountImpl(uint32_t* count) {
    *count = kNullDevices;
    return ACL_SUCCESS;
}
ACL_API aclError aclrtGetDeviceImpl(int32_t* deviceId) {
    *deviceId = 0;
    return ACL_SUCCESS;
}
ACL_API aclError aclrtGetDeviceInfoImpl(uint32_t, aclrtDevAttr attr, int64_t* value) {
    *value = attr == ACL_DEV_ATTR_VECTOR_CORE_NUM ? kNullVector : kNullCube;
    return ACL_SUCCESS;
}
ACL_API aclError aclrtGetResInCurrentThreadImpl(aclrtDevResLimitType type, uint32_t* value) {
    *value = cores_of(type);
    return ACL_SUCCESS;
}
ACL_API aclError aclrtGetDeviceResLimitImpl(int32_t, aclrtDevResLimitType type, uint32_t* value) {
    *value = cores_of(type);
    return ACL_SUCCESS;
}
ACL_API aclError aclrtGetMemInfoImpl(aclrtMemAttr, size_t* free, size_t* total) {
    *free = *total = kNullMemory;
    return ACL_SUCCESS;
}
ACL_API aclError aclrtMallocImpl(void** devPtr, size_t, aclrtMemMallocPolicy) {
    *devPtr = malloc(1);  // an address that nobody else has
    return ACL_SUCCESS;
}
ACL_API aclError aclrtFreeImpl(void* devPtr) {
    free(devPtr);
    return ACL_SUCCESS;
}
ACL_API aclError aclmdlRICaptureEndImpl(aclrtStream, aclmdlRI* modelRI) {
    *modelRI = anything;
    return ACL_SUCCESS;
}

aclError aclmdlRICaptureGetInfoImpl(aclrtStream, aclmdlRICaptureStatus* status, aclmdlRI* modelRI) {
    *status = ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    *modelRI = nullptr;
    return ACL_SUCCESS;
}
aclError aclrtCreateStreamImpl(aclrtStream* stream) {
    *stream = anything;
    return ACL_SUCCESS;
}
aclError aclrtDestroyStreamImpl(aclrtStream) { return ACL_SUCCESS; }
aclError aclrtSynchronizeStreamImpl(aclrtStream) { return ACL_SUCCESS; }
aclError aclrtCreateEventExWithFlagImpl(aclrtEvent* event, uint32_t) {
    *event = malloc(1);
    return ACL_SUCCESS;
}
aclError aclrtDestroyEventImpl(aclrtEvent event) {
    free(event);
    return ACL_SUCCESS;
}
aclError aclrtRecordEventImpl(aclrtEvent, aclrtStream) { return ACL_SUCCESS; }
aclError aclrtQueryEventStatusImpl(aclrtEvent, aclrtEventRecordedStatus* status) {
    *status = ACL_EVENT_RECORDED_STATUS_COMPLETE;
    return ACL_SUCCESS;
}
aclError aclrtSynchronizeEventImpl(aclrtEvent) { return ACL_SUCCESS; }
aclError aclrtEventGetTimestampImpl(aclrtEvent, uint64_t* timestamp) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    *timestamp = static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
    return ACL_SUCCESS;
}
aclError aclrtEventElapsedTimeImpl(float* ms, aclrtEvent, aclrtEvent) {
    *ms = 0;
    return ACL_SUCCESS;
}
}
