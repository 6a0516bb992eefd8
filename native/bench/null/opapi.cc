// SPDX-License-Identifier: Apache-2.0
// libopapi.so of the null device: one operator of two phases, which asks for the cores and launches as CANN's do.
#include "null/device.h"

struct aclOpExecutor {
    uint32_t cores;
    bool taken;
};

namespace {

constexpr uint32_t kExecutors = 64;  // more than a thread has between the phases
thread_local aclOpExecutor executors[kExecutors];
thread_local uint32_t newest;

}  // namespace

extern "C" {

ACL_API aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor* executor) {
    executor->taken = false;
    return ACL_SUCCESS;
}

aclnnStatus aclnnAddGetWorkspaceSize(const aclTensor*, const aclTensor*, const aclScalar*, aclTensor*,
                                     uint64_t* workspaceSize, aclOpExecutor** executor) {
    uint32_t cores = 0;
    aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores);
    aclOpExecutor& made = executors[++newest % kExecutors];
    made = {cores, true};
    *workspaceSize = 0;
    *executor = &made;
    return ACL_SUCCESS;
}

aclnnStatus aclnnAdd(void*, uint64_t, aclOpExecutor* executor, aclrtStream stream) {
    executor->taken = false;
    return aclrtLaunchKernelWithHostArgs(executor, executor->cores, stream, nullptr, executor, sizeof *executor,
                                         nullptr, 0);
}
}
