// SPDX-License-Identifier: Apache-2.0
//
// Settings that a program makes and reads back: system parameters, overflow, timeouts, logs, dumps.
#include <flexnpu_abi/acl_op.h>
#include <flexnpu_abi/acl_rt.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bridge/check.h"

using softnpu::fail;

namespace {

constexpr int kParameters = 16;
std::array<std::atomic<int64_t>, kParameters> parameters{};
std::atomic<aclrtFloatOverflowMode> overflow_mode{ACL_RT_OVERFLOW_MODE_INFNAN};

}  // namespace

extern "C" {

aclError aclrtSetSysParamOpt(aclSysParamOpt opt, int64_t value) {
    if (static_cast<int>(opt) < 0 || static_cast<int>(opt) >= kParameters) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtSetSysParamOpt: parameter %d, must be 0 to %d",
                    static_cast<int>(opt), kParameters - 1);
    }
    parameters[opt].store(value);
    return ACL_SUCCESS;
}

aclError aclrtGetSysParamOpt(aclSysParamOpt opt, int64_t* value) {
    SOFTNPU_NEED(value);
    if (static_cast<int>(opt) < 0 || static_cast<int>(opt) >= kParameters) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtGetSysParamOpt: parameter %d, must be 0 to %d",
                    static_cast<int>(opt), kParameters - 1);
    }
    *value = parameters[opt].load();
    return ACL_SUCCESS;
}

aclError aclrtCtxSetSysParamOpt(aclSysParamOpt opt, int64_t value) { return aclrtSetSysParamOpt(opt, value); }

aclError aclrtCtxGetSysParamOpt(aclSysParamOpt opt, int64_t* value) { return aclrtGetSysParamOpt(opt, value); }

aclError aclrtSetDeviceSatMode(aclrtFloatOverflowMode mode) {
    if (mode != ACL_RT_OVERFLOW_MODE_SATURATION && mode != ACL_RT_OVERFLOW_MODE_INFNAN) {
        return fail(ACL_ERROR_RT_PARAM_INVALID,
                    "aclrtSetDeviceSatMode: mode %d, must be 0 (saturation) or 1 (inf, nan)", static_cast<int>(mode));
    }
    overflow_mode.store(mode);
    return ACL_SUCCESS;
}

aclError aclrtGetDeviceSatMode(aclrtFloatOverflowMode* mode) {
    SOFTNPU_NEED(mode);
    *mode = overflow_mode.load(std::memory_order_relaxed);
    return ACL_SUCCESS;
}

aclError aclrtSetStreamOverflowSwitch(aclrtStream /*stream*/, uint32_t /*flag*/) { return ACL_SUCCESS; }
aclError aclrtGetStreamOverflowSwitch(aclrtStream /*stream*/, uint32_t* flag) {
    SOFTNPU_NEED(flag);
    *flag = 0;
    return ACL_SUCCESS;
}
// An operator ends by itself: the limit on its time is accepted and never met.
aclError aclrtSetOpExecuteTimeOut(uint32_t /*timeout*/) { return ACL_SUCCESS; }

// us; the operator's own time has no limit here.
aclError aclrtSetOpExecuteTimeOutV2(uint64_t timeout, uint64_t* actualTimeout) {
    SOFTNPU_NEED(actualTimeout);
    *actualTimeout = timeout;
    return ACL_SUCCESS;
}

aclError aclrtSetOpWaitTimeout(uint32_t timeout) {
    constexpr uint32_t kMost = INT32_MAX / 1000;
    softnpu::Process::get().wait_timeout_ms.store(timeout == 0 ? -1
                                                               : static_cast<int32_t>(std::min(timeout, kMost)) * 1000);
    return ACL_SUCCESS;
}

aclError aclrtSetStreamAttribute(aclrtStream /*stream*/, aclrtStreamAttr /*type*/, aclrtStreamAttrValue* /*value*/) {
    return ACL_SUCCESS;
}

aclError aclmdlInitDump() { return ACL_SUCCESS; }
aclError aclmdlFinalizeDump() { return ACL_SUCCESS; }
aclError aclmdlSetDump(const char* dumpCfgPath) {
    return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "aclmdlSetDump(%s): the software NPU dumps no tensors",
                dumpCfgPath != nullptr ? dumpCfgPath : "null");
}

// What a program logs through CANN is silent unless ASCEND_SLOG_PRINT_TO_STDOUT asks for it, as in CANN.
void aclAppLog(aclLogLevel logLevel, const char* func, const char* file, uint32_t line, const char* fmt, ...) {
    static const bool print = [] {
        const char* wanted = std::getenv("ASCEND_SLOG_PRINT_TO_STDOUT");
        return wanted != nullptr && std::strcmp(wanted, "1") == 0;
    }();
    if (!print) {
        return;
    }
    static const char* const names[] = {"DEBUG", "INFO", "WARNING", "ERROR"};
    char text[1024];
    va_list args;
    va_start(args, fmt);
    std::vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const auto level = static_cast<unsigned>(logLevel);
    std::printf("[%s] %s:%u %s: %s\n", level < 4 ? names[level] : "EVENT", file, line, func, text);
}

}  // extern "C"
