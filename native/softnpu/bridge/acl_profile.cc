// SPDX-License-Identifier: Apache-2.0
//
// Profiling as torch_npu's profiler drives it. Which metrics a program asks for makes no difference: there are the
// tasks and their times, and no counters of the cores.
#include <flexnpu_abi/acl_prof.h>

#include <cstring>
#include <string>
#include <utility>

#include "bridge/check.h"
#include "runtime/profile.h"

using softnpu::fail;
using softnpu::Profile;

struct aclprofConfig {
    uint64_t devices;  // one bit each
};

struct aclprofStepInfo {};

namespace {

void mark(std::string message) {
    const int64_t now = softnpu::raw_now_ns();
    Profile::get().note(softnpu::MarkRecord{std::move(message), "default", now, now, softnpu::thread_number()});
}

}  // namespace

extern "C" {

aclError aclprofInit(const char* profilerResultPath, size_t length) {
    SOFTNPU_NEED(profilerResultPath);
    return Profile::get().init(std::string(profilerResultPath, strnlen(profilerResultPath, length)));
}

aclError aclprofFinalize() { return Profile::get().finalize(); }

aclprofConfig* aclprofCreateConfig(uint32_t* deviceIdList, uint32_t deviceNums, aclprofAicoreMetrics /*aicoreMetrics*/,
                                   const aclprofAicoreEvents* /*aicoreEvents*/, uint64_t /*dataTypeConfig*/) {
    if (softnpu::Process::get().ready() != ACL_SUCCESS) {
        return nullptr;
    }
    const uint32_t devices = softnpu::Process::get().options().devices;
    uint64_t chosen = 0;
    for (uint32_t i = 0; deviceIdList != nullptr && i < deviceNums; ++i) {
        if (deviceIdList[i] >= devices) {
            fail(ACL_ERROR_RT_INVALID_DEVICEID, "aclprofCreateConfig: device %u, there are devices 0 to %u",
                 deviceIdList[i], devices - 1);
            return nullptr;
        }
        chosen |= 1ULL << deviceIdList[i];
    }
    return new aclprofConfig{chosen};
}

aclError aclprofDestroyConfig(const aclprofConfig* profilerConfig) {
    SOFTNPU_NEED(profilerConfig);
    delete profilerConfig;
    return ACL_SUCCESS;
}

aclError aclprofSetConfig(aclprofConfigType /*configType*/, const char* config, size_t /*configLength*/) {
    SOFTNPU_NEED(config);
    return ACL_SUCCESS;
}

aclError aclprofStart(const aclprofConfig* profilerConfig) {
    SOFTNPU_NEED(profilerConfig);
    return Profile::get().start(profilerConfig->devices);
}

aclError aclprofStop(const aclprofConfig* profilerConfig) {
    SOFTNPU_NEED(profilerConfig);
    return Profile::get().stop();
}

aclprofStepInfo* aclprofCreateStepInfo() { return new aclprofStepInfo; }

void aclprofDestroyStepInfo(aclprofStepInfo* stepinfo) { delete stepinfo; }

aclError aclprofGetStepTimestamp(aclprofStepInfo* stepInfo, aclprofStepTag tag, aclrtStream /*stream*/) {
    SOFTNPU_NEED(stepInfo);
    mark(tag == ACL_STEP_START ? "step start" : "step end");
    return ACL_SUCCESS;
}

aclError aclprofMarkEx(const char* msg, size_t msgLen, aclrtStream /*stream*/) {
    SOFTNPU_NEED(msg);
    mark(std::string(msg, strnlen(msg, msgLen)));
    return ACL_SUCCESS;
}

}  // extern "C"
