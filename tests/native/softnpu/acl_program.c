/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory, copies, a stream, two events and one operator: c = a + 2 b. Returns 0 when the sum is right.
 */
#include <flexnpu_abi/acl_rt.h>
#include <flexnpu_abi/aclnn.h>
#include <stdio.h>

aclnnStatus aclnnAddGetWorkspaceSize(const aclTensor* self, const aclTensor* other, const aclScalar* alpha,
                                     const aclTensor* out, uint64_t* workspaceSize, aclOpExecutor** executor);
aclnnStatus aclnnAdd(void* workspace, uint64_t workspaceSize, aclOpExecutor* executor, aclrtStream stream);

#define CHECK(call)                                                                      \
    do {                                                                                 \
        int code = (int)(call);                                                          \
        if (code != 0) {                                                                 \
            const char* why = aclGetRecentErrMsg();                                      \
            fprintf(stderr, "%s: error %d: %s\n", #call, code, why != NULL ? why : "-"); \
            return 1;                                                                    \
        }                                                                                \
    } while (0)

enum { N = 1000 };

static aclTensor* vector_of(void* data) {
    int64_t size = N;
    int64_t stride = 1;
    return aclCreateTensor(&size, 1, ACL_FLOAT, &stride, 0, ACL_FORMAT_ND, &size, 1, data);
}

int main(void) {
    float a[N];
    float b[N];
    float c[N];
    for (int i = 0; i < N; ++i) {
        a[i] = (float)i;
        b[i] = 0.5f;
    }
    CHECK(aclInit(NULL));
    CHECK(aclrtSetDevice(0));
    aclrtStream stream = NULL;
    CHECK(aclrtCreateStream(&stream));
    aclrtEvent start = NULL;
    aclrtEvent end = NULL;
    CHECK(aclrtCreateEventWithFlag(&start, ACL_EVENT_TIME_LINE));
    CHECK(aclrtCreateEventWithFlag(&end, ACL_EVENT_TIME_LINE));
    void* device[3];
    for (int i = 0; i < 3; ++i) {
        CHECK(aclrtMalloc(&device[i], sizeof a, ACL_MEM_MALLOC_HUGE_FIRST));
    }
    CHECK(aclrtMemcpy(device[0], sizeof a, a, sizeof a, ACL_MEMCPY_HOST_TO_DEVICE));
    CHECK(aclrtMemcpyAsync(device[1], sizeof b, b, sizeof b, ACL_MEMCPY_HOST_TO_DEVICE, stream));

    float two = 2.0f;
    aclScalar* alpha = aclCreateScalar(&two, ACL_FLOAT);
    aclTensor* tensors[3];
    for (int i = 0; i < 3; ++i) {
        tensors[i] = vector_of(device[i]);
    }
    uint64_t workspace = 0;
    aclOpExecutor* executor = NULL;
    CHECK(aclrtRecordEvent(start, stream));
    CHECK(aclnnAddGetWorkspaceSize(tensors[0], tensors[1], alpha, tensors[2], &workspace, &executor));
    CHECK(aclnnAdd(NULL, workspace, executor, stream));
    CHECK(aclrtRecordEvent(end, stream));
    CHECK(aclrtMemcpyAsync(c, sizeof c, device[2], sizeof c, ACL_MEMCPY_DEVICE_TO_HOST, stream));
    CHECK(aclrtSynchronizeStream(stream));
    float ms = -1.0f;
    CHECK(aclrtEventElapsedTime(&ms, start, end));
    for (int i = 0; i < N; ++i) {
        if (c[i] != (float)i + 1.0f) {
            fprintf(stderr, "c[%d] = %f, must be %f\n", i, (double)c[i], (double)i + 1.0);
            return 1;
        }
    }
    if (ms < 0.0f) {
        fprintf(stderr, "elapsed time %f ms, must not be negative\n", (double)ms);
        return 1;
    }
    if (aclrtMalloc(&device[0], (size_t)1 << 40, ACL_MEM_MALLOC_HUGE_FIRST) != ACL_ERROR_RT_MEMORY_ALLOCATION) {
        fprintf(stderr, "a TiB was given on a device that has less\n");
        return 1;
    }
    for (int i = 0; i < 3; ++i) {
        aclDestroyTensor(tensors[i]);
    }
    aclDestroyScalar(alpha);
    CHECK(aclrtFree(device[1]));
    CHECK(aclrtFree(device[2]));
    CHECK(aclrtDestroyEvent(start));
    CHECK(aclrtDestroyEvent(end));
    CHECK(aclrtDestroyStream(stream));
    CHECK(aclrtResetDevice(0));
    CHECK(aclFinalize());
    printf("%d sums right, %.3f ms of device time\n", N, (double)ms);
    return 0;
}
