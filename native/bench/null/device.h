// SPDX-License-Identifier: Apache-2.0
// The null device: calls return at once and nothing happens. What FlexNPU adds to a call stands out best before it.
// Layered as CANN is: libascendcl.so (public names) over libruntime.so (Impl names, rt*); libopapi.so beside them.
#pragma once

#include <stdint.h>

#include "flexnpu_abi/acl_rt.h"
#include "flexnpu_abi/aclnn.h"

constexpr uint32_t kNullCube = 24;
constexpr uint32_t kNullVector = 48;
constexpr uint32_t kNullDevices = 16;
constexpr uint64_t kNullMemory = uint64_t{64} << 30;

// Functions that are not in the table (or may be one day) and that programs need, under both names.
#define NULL_EXTRA(X)                                                                                             \
    X(aclrtCreateStream, (aclrtStream * stream), (stream))                                                        \
    X(aclrtDestroyStream, (aclrtStream stream), (stream))                                                         \
    X(aclrtSynchronizeStream, (aclrtStream stream), (stream))                                                     \
    X(aclrtCreateEventExWithFlag, (aclrtEvent * event, uint32_t flag), (event, flag))                             \
    X(aclrtDestroyEvent, (aclrtEvent event), (event))                                                             \
    X(aclrtRecordEvent, (aclrtEvent event, aclrtStream stream), (event, stream))                                  \
    X(aclrtQueryEventStatus, (aclrtEvent event, aclrtEventRecordedStatus * status), (event, status))              \
    X(aclrtSynchronizeEvent, (aclrtEvent event), (event))                                                         \
    X(aclrtEventGetTimestamp, (aclrtEvent event, uint64_t* timestamp), (event, timestamp))                        \
    X(aclrtEventElapsedTime, (float* ms, aclrtEvent startEvent, aclrtEvent endEvent), (ms, startEvent, endEvent)) \
    X(aclmdlRICaptureGetInfo, (aclrtStream stream, aclmdlRICaptureStatus * status, aclmdlRI * modelRI),           \
      (stream, status, modelRI))

#define NULL_DECLARE(name, params, args) extern "C" ACL_API aclError name##Impl params;
NULL_EXTRA(NULL_DECLARE)
#undef NULL_DECLARE

extern "C" {
// The layer below, as those who call it directly declare it.
ACL_API int rtKernelLaunch(const void* function, uint32_t blocks, void* args, uint32_t size, void* reserved,
                           void* stream);
ACL_API aclError aclrtLaunchKernelWithHostArgsImpl(aclrtFuncHandle funcHandle, uint32_t numBlocks, aclrtStream stream,
                                                   aclrtLaunchKernelCfg* cfg, void* hostArgs, size_t argsSize,
                                                   aclrtPlaceHolderInfo* placeHolderArray, size_t placeHolderNum);
ACL_API aclnnStatus aclnnAddGetWorkspaceSize(const aclTensor* self, const aclTensor* other, const aclScalar* alpha,
                                             aclTensor* out, uint64_t* workspaceSize, aclOpExecutor** executor);
ACL_API aclnnStatus aclnnAdd(void* workspace, uint64_t workspaceSize, aclOpExecutor* executor, aclrtStream stream);
ACL_API aclnnStatus aclnnEmbeddingGetWorkspaceSize(const aclTensor* weight, const aclTensor* indices, aclTensor* out,
                                                   uint64_t* workspaceSize, aclOpExecutor** executor);
ACL_API aclnnStatus aclnnEmbedding(void* workspace, uint64_t workspaceSize, aclOpExecutor* executor,
                                   aclrtStream stream);
ACL_API aclnnStatus aclnnFlashAttentionScoreGetWorkspaceSize(
    const aclTensor* query, const aclTensor* key, const aclTensor* value, const aclTensor* realShift,
    const aclTensor* dropMask, const aclTensor* paddingMask, const aclTensor* attenMask, const aclIntArray* prefix,
    double scale, double keepProb, int64_t preTokens, int64_t nextTokens, int64_t headNum, char* inputLayout,
    int64_t innerPrecise, int64_t sparseMode, const aclTensor* softmaxMax, const aclTensor* softmaxSum,
    const aclTensor* softmaxOut, const aclTensor* attentionOut, uint64_t* workspaceSize, aclOpExecutor** executor);
ACL_API aclnnStatus aclnnFlashAttentionScore(void* workspace, uint64_t workspaceSize, aclOpExecutor* executor,
                                             aclrtStream stream);
}
