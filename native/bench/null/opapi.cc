// SPDX-License-Identifier: Apache-2.0
// libopapi.so of the null device: operators of two phases, which ask for the cores and launch as CANN's do, and of
// their tensors the shapes.
#include <string.h>

#include "null/device.h"

struct aclTensor {
    int64_t dims[8];
    uint64_t count;
};

struct aclOpExecutor {
    uint32_t cores;
    bool taken;
};

namespace {

constexpr uint32_t kExecutors = 64;  // more than a thread has between the phases
thread_local aclOpExecutor executors[kExecutors];
thread_local uint32_t newest;

aclnnStatus tile(uint64_t* workspaceSize, aclOpExecutor** executor) {
    uint32_t cores = 0;
    aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores);
    aclOpExecutor& made = executors[++newest % kExecutors];
    made = {cores, true};
    *workspaceSize = 0;
    *executor = &made;
    return ACL_SUCCESS;
}

aclnnStatus launch(aclOpExecutor* executor, aclrtStream stream) {
    executor->taken = false;
    return aclrtLaunchKernelWithHostArgs(executor, executor->cores, stream, nullptr, executor, sizeof *executor,
                                         nullptr, 0);
}

}  // namespace

extern "C" {

ACL_API aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor* executor) {
    executor->taken = false;
    return ACL_SUCCESS;
}

aclTensor* aclCreateTensor(const int64_t* viewDims, uint64_t viewDimsNum, aclDataType, const int64_t*, int64_t,
                           aclFormat, const int64_t*, uint64_t, void*) {
    auto* tensor = new aclTensor{};
    tensor->count = viewDimsNum < 8 ? viewDimsNum : 8;
    memcpy(tensor->dims, viewDims, tensor->count * sizeof *viewDims);
    return tensor;
}
aclnnStatus aclDestroyTensor(const aclTensor* tensor) {
    delete tensor;
    return ACL_SUCCESS;
}
aclnnStatus aclGetViewShape(const aclTensor* tensor, int64_t** viewDims, uint64_t* viewDimsNum) {
    *viewDims = new int64_t[8];
    *viewDimsNum = tensor->count;
    memcpy(*viewDims, tensor->dims, sizeof tensor->dims);
    return ACL_SUCCESS;
}

aclnnStatus aclnnAddGetWorkspaceSize(const aclTensor*, const aclTensor*, const aclScalar*, aclTensor*,
                                     uint64_t* workspaceSize, aclOpExecutor** executor) {
    return tile(workspaceSize, executor);
}
aclnnStatus aclnnAdd(void*, uint64_t, aclOpExecutor* executor, aclrtStream stream) { return launch(executor, stream); }

aclnnStatus aclnnEmbeddingGetWorkspaceSize(const aclTensor*, const aclTensor*, aclTensor*, uint64_t* workspaceSize,
                                           aclOpExecutor** executor) {
    return tile(workspaceSize, executor);
}
aclnnStatus aclnnEmbedding(void*, uint64_t, aclOpExecutor* executor, aclrtStream stream) {
    return launch(executor, stream);
}

aclnnStatus aclnnFlashAttentionScoreGetWorkspaceSize(const aclTensor*, const aclTensor*, const aclTensor*,
                                                     const aclTensor*, const aclTensor*, const aclTensor*,
                                                     const aclTensor*, const aclIntArray*, double, double, int64_t,
                                                     int64_t, int64_t, char*, int64_t, int64_t, const aclTensor*,
                                                     const aclTensor*, const aclTensor*, const aclTensor*,
                                                     uint64_t* workspaceSize, aclOpExecutor** executor) {
    return tile(workspaceSize, executor);
}
aclnnStatus aclnnFlashAttentionScore(void*, uint64_t, aclOpExecutor* executor, aclrtStream stream) {
    return launch(executor, stream);
}
}
