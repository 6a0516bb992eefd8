// SPDX-License-Identifier: Apache-2.0
// A device that does nothing and remembers what it was asked: libascendcl.so, libruntime.so and libopapi.so of the
// smallest kind, layered as CANN is (public name, Impl name, runtime), for tests of whoever stands before them.
// It has a time line too: one launch after the other, each as long as null_take() says for its function. Nothing runs;
// a launch is over when the clock has passed its end.
#pragma once

#include <stdint.h>

#include "flexnpu_abi/acl_rt.h"
#include "flexnpu_abi/aclnn.h"
#include "flexnpu_abi/hccl.h"
#include "flexnpu_abi/rt.h"

constexpr uint32_t kNullCube = 24;
constexpr uint32_t kNullVector = 48;
constexpr uint64_t kNullMemory = uint64_t{64} << 30;
constexpr uint32_t kNullDevices = 4;

struct Dim3 {
    uint32_t x, y, z;
};

struct NullRecord {
    int32_t device;        // last set
    uint64_t allocations;  // that reached the device
    uint64_t frees;
    uint64_t copies;  // copies and fills that reached the lowest layer
    uint64_t graphs;
    uint64_t last_argument;  // of the last launch with parameters on the stack
    uint64_t kernels;        // launches that reached the lowest layer
    uint32_t blocks;         // of the last launch
    uint64_t tilings;        // phase ones
    double reals[2];         // that the last long phase one was given
    int64_t last_integer;    // the last one on the stack before the places for the results
    uint64_t records;        // events put on a stream, outside captures
    uint64_t captured;       // events put on a stream while it was capturing
    uint64_t misused;        // calls about events and streams without a context, or with a stream that was destroyed
    uint64_t busy_ns;        // sum of what launches took
    uint64_t waits;          // for an event
};

struct NullPlaces {
    bool refuse_frees;         // set by a test: the device takes nothing back
    uint64_t pool_reserve;     // set by a test: what a pool says it keeps
    uint32_t batch_places[2];  // devices that the last batch of copies named first: destination, source
    int32_t ranks[16];         // devices of the last communicator over several
    uint32_t peer;             // last peer that was asked about
};

extern "C" {
ACL_API NullRecord* null_record();
// A launch of `function` takes so long from now on (0: no time, as every function at first).
ACL_API void null_take(const void* function, int64_t ns);
// When the newest launch ends, and now, both CLOCK_MONOTONIC.
ACL_API int64_t null_end_ns();
ACL_API int64_t null_now_ns();
ACL_API NullPlaces* null_places();
ACL_API aclError aclrtLaunchKernelWithHostArgsImpl(aclrtFuncHandle, uint32_t, aclrtStream, aclrtLaunchKernelCfg*, void*,
                                                   size_t, aclrtPlaceHolderInfo*, size_t);
ACL_API aclError aclrtMallocImpl(void** devPtr, size_t size, aclrtMemMallocPolicy policy);
ACL_API aclError aclrtFreeImpl(void* devPtr);
ACL_API int rtKernelLaunch(const void* function, uint32_t blocks, void* args, uint32_t size, void* reserved,
                           void* stream);
ACL_API int rtKernelLaunchEx(void* args, uint32_t size, uint32_t flags, void* stream);  // over rtKernelLaunchFwk
ACL_API int rtKernelLaunchFwk(const char* op, void* args, uint32_t size, uint32_t flags, void* stream);
ACL_API int rtKernelLaunchWithFlagV2(const void* function, uint32_t blocks, void* args, void* memory, void* stream,
                                     uint32_t flags, const void* config);
ACL_API int rtLaunchSIMTKernelWithHostArgs(void* function, uint64_t grid, uint64_t block, size_t, void* stream,
                                           void* config, void* args, uint32_t size, void* places, uint64_t last);
ACL_API int aclrtLaunchSIMTKernelWithHostArgs(void* function, Dim3 grid, Dim3 block, size_t, void* stream, void* config,
                                              void* args, size_t size, void* places, size_t last);
ACL_API int rtMemcpyAsync(void* dst, uint64_t room, const void* src, uint64_t count, int kind, void* stream);
ACL_API int rtMemcpy(void* dst, uint64_t room, const void* src, uint64_t count, int kind);
ACL_API int rtMemset(void* devPtr, uint64_t room, uint32_t value, uint64_t count);
ACL_API int rtModelExecute(void* model, void* stream, uint32_t flag);
// What no table lists.
ACL_API int rtUnheardOfKernelLaunch(void* function);
ACL_API int aclrtUnheardOfMalloc(void** devPtr, size_t size);
ACL_API int aclrtGetUnheardOfMallocInfo(void* info);
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
