// SPDX-License-Identifier: Apache-2.0
// How many cores there are: the quota, or less where the program set itself a lower limit. An operator's tiling asks
// here, so this is where a quota becomes a number of blocks.
#include <stdio.h>
#include <stdlib.h>

#include "entries/ordinal.h"

namespace flexnpu {
namespace {

constexpr aclError kNoSuchDevice = ACL_ERROR_RT_INVALID_DEVICEID;

template <typename Number>
void clamp(Number* value, uint64_t limit) {
    if (static_cast<uint64_t>(*value) > limit) *value = static_cast<Number>(limit);
}

uint32_t cube(const Quota& quota) { return flexnpu_quota_cube(told_word(quota)); }
uint32_t vector(const Quota& quota) { return flexnpu_quota_vector(told_word(quota)); }

aclError limited(aclError status, const Quota& quota, aclrtDevResLimitType type, uint32_t* value) {
    if (status == ACL_SUCCESS) clamp(value, type == ACL_RT_DEV_RES_CUBE_CORE ? cube(quota) : vector(quota));
    return status;
}

aclError on_aclrtGetDeviceInfo(decltype(&::aclrtGetDeviceInfo) real, uint32_t deviceId, aclrtDevAttr attr,
                               int64_t* value) {
    uint32_t physical = 0;
    const DeviceTenant* device = find_device(deviceId, &physical);
    if (device == nullptr) return kNoSuchDevice;
    const aclError status = real(physical, attr, value);
    if (status != ACL_SUCCESS) return status;
    if (attr == ACL_DEV_ATTR_CUBE_CORE_NUM || attr == ACL_DEV_ATTR_AICORE_CORE_NUM) clamp(value, cube(device->quota));
    if (attr == ACL_DEV_ATTR_VECTOR_CORE_NUM) clamp(value, vector(device->quota));
    if (attr == ACL_DEV_ATTR_TOTAL_GLOBAL_MEM_SIZE) clamp(value, device->quota.memory_bytes());
    return status;
}

aclError on_aclGetDeviceCapability(decltype(&::aclGetDeviceCapability) real, uint32_t deviceId,
                                   aclDeviceInfo deviceInfo, int64_t* value) {
    uint32_t physical = 0;
    const DeviceTenant* device = find_device(deviceId, &physical);
    if (device == nullptr) return kNoSuchDevice;
    const aclError status = real(physical, deviceInfo, value);
    if (status != ACL_SUCCESS) return status;
    if (deviceInfo == ACL_DEVICE_INFO_AI_CORE_NUM) clamp(value, cube(device->quota));
    if (deviceInfo == ACL_DEVICE_INFO_VECTOR_CORE_NUM) clamp(value, vector(device->quota));
    return status;
}

// This one answers in text.
aclError on_aclplatformGetDeviceInfo(decltype(&::aclplatformGetDeviceInfo) real, aclplatformDevInfo infoType,
                                     char* value, uint32_t maxLen) {
    const aclError status = real(infoType, value, maxLen);
    if (status != ACL_SUCCESS || value == nullptr) return status;
    uint64_t limit = 0;
    switch (infoType) {
        case ACL_PLATFORM_AICORE_CNT:
        case ACL_PLATFORM_CUBE_CORE_CNT:
            limit = cube(here().quota);
            break;
        case ACL_PLATFORM_VECTOR_CORE_CNT:
            limit = vector(here().quota);
            break;
        default:
            return status;
    }
    // A smaller number never has more digits, so it fits where the real one did.
    if (strtoull(value, nullptr, 10) > limit) snprintf(value, maxLen, "%llu", static_cast<unsigned long long>(limit));
    return status;
}

aclError on_aclrtGetDeviceResLimit(decltype(&::aclrtGetDeviceResLimit) real, int32_t deviceId,
                                   aclrtDevResLimitType type, uint32_t* value) {
    int32_t physical = 0;
    const DeviceTenant* device = find_device(deviceId, &physical);
    return device == nullptr ? kNoSuchDevice : limited(real(physical, type, value), device->quota, type, value);
}

aclError on_aclrtSetDeviceResLimit(decltype(&::aclrtSetDeviceResLimit) real, int32_t deviceId,
                                   aclrtDevResLimitType type, uint32_t value) {
    int32_t physical = 0;
    return find_device(deviceId, &physical) != nullptr ? real(physical, type, value) : kNoSuchDevice;
}

aclError on_aclrtResetDeviceResLimit(decltype(&::aclrtResetDeviceResLimit) real, int32_t deviceId) {
    int32_t physical = 0;
    return find_device(deviceId, &physical) != nullptr ? real(physical) : kNoSuchDevice;
}

aclError on_aclrtGetStreamResLimit(decltype(&::aclrtGetStreamResLimit) real, aclrtStream stream,
                                   aclrtDevResLimitType type, uint32_t* value) {
    return limited(real(stream, type, value), here().quota, type, value);
}

aclError on_aclrtGetResInCurrentThread(decltype(&::aclrtGetResInCurrentThread) real, aclrtDevResLimitType type,
                                       uint32_t* value) {
    return limited(real(type, value), here().quota, type, value);
}

}  // namespace

#define FLEXNPU_CORES(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::cores, on_##name)
#include "functions.def"

}  // namespace flexnpu
