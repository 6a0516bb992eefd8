// SPDX-License-Identifier: Apache-2.0
//
// Symbols that torch_npu links to and the software NPU does not carry out: device binaries, profiling reports. Each
// fails with CANN's code for "not supported" and a message that names it, or reports nothing.
#include <cstddef>
#include <cstdint>

#include "runtime/status.h"

#define SOFTNPU_EXPORT __attribute__((visibility("default")))

namespace {

aclError unbound(const char* what) {
    return softnpu::fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "%s is not bound in the software NPU", what);
}

}  // namespace

extern "C" {

// --- device binaries ---

SOFTNPU_EXPORT aclError aclrtBinaryLoadFromData(const void*, size_t, const void*, void**) {
    return unbound("aclrtBinaryLoadFromData (device binaries)");
}
SOFTNPU_EXPORT aclError aclrtBinaryGetFunction(const void*, const char*, void**) {
    return unbound("aclrtBinaryGetFunction (device binaries)");
}
SOFTNPU_EXPORT aclError aclrtGetFunctionAddr(void*, void**, void**) {
    return unbound("aclrtGetFunctionAddr (device binaries)");
}
SOFTNPU_EXPORT int rtDevBinaryRegister(const void*, void**) { return unbound("rtDevBinaryRegister (device binaries)"); }
SOFTNPU_EXPORT int rtFunctionRegister(void*, const void*, const char*, const void*, uint32_t) {
    return unbound("rtFunctionRegister (device binaries)");
}
SOFTNPU_EXPORT int rtKernelLaunch(const void*, uint32_t, void*, uint32_t, void*, void*) {
    return unbound("rtKernelLaunch (device binaries)");
}
SOFTNPU_EXPORT int rtGetC2cCtrlAddr(uint64_t*, uint32_t*) { return unbound("rtGetC2cCtrlAddr"); }

// --- profiling: nobody listens, so a report is taken and dropped ---

SOFTNPU_EXPORT uint64_t MsprofGetHashId(const char*, size_t) { return 0; }
SOFTNPU_EXPORT int32_t MsprofRegisterCallback(uint32_t, void*) { return 0; }
SOFTNPU_EXPORT int32_t MsprofReportAdditionalInfo(uint32_t, void*, uint32_t) { return 0; }
SOFTNPU_EXPORT int32_t MsprofReportApi(uint32_t, const void*) { return 0; }
SOFTNPU_EXPORT int32_t MsprofReportCompactInfo(uint32_t, void*, uint32_t) { return 0; }
SOFTNPU_EXPORT uint64_t MsprofSysCycleTime() { return 0; }

}  // extern "C"
