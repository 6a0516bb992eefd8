// SPDX-License-Identifier: Apache-2.0
//
// What torch_npu's profiler asks the driver: whether the device's counter can be read as a clock. It cannot, so times
// are taken from CLOCK_MONOTONIC_RAW. There is no drvGetDevNum: the number of devices comes from aclrtGetDeviceCount,
// which FlexNPU's interposer answers for a vNPU.
#include <cstdint>

#define SOFTNPU_EXPORT __attribute__((visibility("default")))

namespace {

constexpr int32_t kNotSupported = 0xfffe;      // the driver's code for what a device does not have
constexpr int32_t kBeforeCounters = 0x071904;  // the last version of the interface without the counter's frequency

}  // namespace

extern "C" {

SOFTNPU_EXPORT int32_t halGetAPIVersion(int32_t* version) {
    *version = kBeforeCounters;
    return 0;
}

SOFTNPU_EXPORT int32_t halGetDeviceInfo(uint32_t /*device*/, int32_t /*module*/, int32_t /*info*/, int64_t* /*value*/) {
    return kNotSupported;
}

}  // extern "C"
