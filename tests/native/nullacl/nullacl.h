// SPDX-License-Identifier: Apache-2.0
// A device that does nothing and remembers what it was asked: libascendcl.so, libruntime.so and libopapi.so of the
// smallest kind, layered as CANN is (public name, Impl name, runtime), for tests of whoever stands before them.
#pragma once

#include <stdint.h>

#include "flexnpu_abi/acl_rt.h"
#include "flexnpu_abi/aclnn.h"

constexpr uint32_t kNullCube = 24;
constexpr uint32_t kNullVector = 48;
constexpr uint64_t kNullMemory = uint64_t{64} << 30;
constexpr uint32_t kNullDevices = 4;

struct NullRecord {
    int32_t device;        // last set
    uint64_t allocations;  // that reached the device
    uint64_t frees;
    uint64_t kernels;      // launches that reached the lowest layer
    uint32_t blocks;       // of the last launch
    uint64_t tilings;      // phase ones
    double reals[2];       // that the last long phase one was given
    int64_t last_integer;  // the last one on the stack before the places for the results
};

extern "C" {
ACL_API NullRecord* null_record();
ACL_API aclError aclrtLaunchKernelWithHostArgsImpl(aclrtFuncHandle, uint32_t, aclrtStream, aclrtLaunchKernelCfg*, void*,
                                                   size_t, aclrtPlaceHolderInfo*, size_t);
ACL_API aclError aclrtMallocImpl(void** devPtr, size_t size, aclrtMemMallocPolicy policy);
ACL_API int rtKernelLaunch(const void* function, uint32_t blocks, void* args, uint32_t size, void* reserved,
                           void* stream);
// Operators: one of known signature, one with reals and stack parameters, one of unknown signature.
ACL_API aclnnStatus aclnnAddGetWorkspaceSize(const aclTensor*, const aclTensor*, const aclScalar*, aclTensor*,
                                             uint64_t*, aclOpExecutor**);
ACL_API aclnnStatus aclnnAdd(void*, uint64_t, aclOpExecutor*, aclrtStream);
ACL_API aclnnStatus aclnnFlashAttentionScoreGetWorkspaceSize(
    const aclTensor*, const aclTensor*, const aclTensor*, const aclTensor*, const aclTensor*, const aclTensor*,
    const aclTensor*, const aclIntArray*, double scale, double keep, int64_t, int64_t, int64_t, char*, int64_t,
    int64_t sparse, const aclTensor*, const aclTensor*, const aclTensor*, const aclTensor*, uint64_t*, aclOpExecutor**);
ACL_API aclnnStatus aclnnFlashAttentionScore(void*, uint64_t, aclOpExecutor*, aclrtStream);
ACL_API aclnnStatus aclnnEmbeddingGetWorkspaceSize(const aclTensor*, const aclTensor*, aclTensor*, uint64_t*,
                                                   aclOpExecutor**);
ACL_API aclnnStatus aclnnEmbedding(void*, uint64_t, aclOpExecutor*, aclrtStream);
ACL_API aclnnStatus aclnnIncreFlashAttentionGetWorkspaceSize(const aclTensor*, const aclTensorList*,
                                                             const aclTensorList*, const aclTensor*, const aclTensor*,
                                                             const aclIntArray*, int64_t heads, double scale,
                                                             char* layout, int64_t, const aclTensor*, uint64_t*,
                                                             aclOpExecutor**);
ACL_API aclnnStatus aclnnIncreFlashAttention(void*, uint64_t, aclOpExecutor*, aclrtStream);
ACL_API aclnnStatus aclnnAddRmsNormCastGetWorkspaceSize(const aclTensor*, const aclTensor*, uint64_t*, aclOpExecutor**);
ACL_API aclnnStatus aclnnAddRmsNormCast(void*, uint64_t, aclOpExecutor*, aclrtStream);
}
