// SPDX-License-Identifier: Apache-2.0
// libopapi.so: operators that tile by the cores they are told of, and torch_npu's cache of their executors. A kept
// executor belongs to the cache; any other ends with its launch.
#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "nullacl.h"

struct aclTensor {
    std::vector<int64_t> sizes;
};
struct aclIntArray {
    std::vector<int64_t> values;
};

struct aclOpExecutor {
    uint32_t cores;
    bool kept;
};

namespace {

std::mutex guard;
std::map<std::string, aclOpExecutor*> cache;
thread_local std::string key;

aclnnStatus tile(uint64_t* workspaceSize, aclOpExecutor** executor) {
    uint32_t cores = 0;
    aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores);
    __atomic_add_fetch(&null_record()->tilings, 1, __ATOMIC_RELAXED);
    *workspaceSize = 0;
    *executor = new aclOpExecutor{cores, !key.empty()};
    const std::lock_guard<std::mutex> held(guard);
    if (!key.empty()) cache[key] = *executor;
    key.clear();
    return ACL_SUCCESS;
}

aclnnStatus launch(aclOpExecutor* executor, aclrtStream stream) {
    const uint32_t cores = executor->cores;
    if (!executor->kept) delete executor;
    return aclrtLaunchKernelWithHostArgs(nullptr, cores, stream, nullptr, nullptr, 0, nullptr, 0);
}

aclOpExecutor* find(const std::string& wanted, uint64_t* workspaceSize) {
    const std::lock_guard<std::mutex> held(guard);
    const auto found = cache.find(wanted);
    *workspaceSize = 0;
    return found != cache.end() ? found->second : nullptr;
}

std::string text(const void* bytes, size_t size) { return {static_cast<const char*>(bytes), size}; }

}  // namespace

extern "C" {

void SetPTAHashKey(uint64_t hash) { key = hash == 0 ? "" : text(&hash, sizeof hash); }
void SetPTACacheHashKey(uint8_t* bytes, size_t length) { key = bytes == nullptr ? "" : text(bytes, length); }
aclOpExecutor* PTAGetExecCache(uint64_t hash, uint64_t* size) { return find(text(&hash, sizeof hash), size); }
aclOpExecutor* PTAFindExecCache(uint8_t* bytes, size_t length, uint64_t* size) {
    return find(text(bytes, length), size);
}
aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor* executor) {
    delete executor;
    return ACL_SUCCESS;
}

aclTensor* aclCreateTensor(const int64_t* sizes, uint64_t count, aclDataType, const int64_t*, int64_t, aclFormat,
                           const int64_t*, uint64_t, void*) {
    return new aclTensor{{sizes, sizes + count}};
}
aclnnStatus aclDestroyTensor(const aclTensor* tensor) {
    delete tensor;
    return ACL_SUCCESS;
}
aclnnStatus aclGetViewShape(const aclTensor* tensor, int64_t** sizes, uint64_t* count) {
    *sizes = new int64_t[tensor->sizes.size()];
    *count = tensor->sizes.size();
    std::copy(tensor->sizes.begin(), tensor->sizes.end(), *sizes);
    return ACL_SUCCESS;
}
aclIntArray* aclCreateIntArray(const int64_t* values, uint64_t size) {
    return new aclIntArray{{values, values + size}};
}
aclnnStatus aclDestroyIntArray(const aclIntArray* array) {
    delete array;
    return ACL_SUCCESS;
}

aclnnStatus aclnnEmbeddingGetWorkspaceSize(const aclTensor*, const aclTensor*, aclTensor*, uint64_t* size,
                                           aclOpExecutor** executor) {
    return tile(size, executor);
}
aclnnStatus aclnnEmbedding(void*, uint64_t, aclOpExecutor* executor, aclrtStream stream) {
    return launch(executor, stream);
}

aclnnStatus aclnnIncreFlashAttentionGetWorkspaceSize(const aclTensor*, const aclTensorList*, const aclTensorList*,
                                                     const aclTensor*, const aclTensor*, const aclIntArray*, int64_t,
                                                     double, char*, int64_t, const aclTensor*, uint64_t* size,
                                                     aclOpExecutor** executor) {
    return tile(size, executor);
}
aclnnStatus aclnnIncreFlashAttention(void*, uint64_t, aclOpExecutor* executor, aclrtStream stream) {
    return launch(executor, stream);
}

aclnnStatus aclnnAddGetWorkspaceSize(const aclTensor*, const aclTensor*, const aclScalar*, aclTensor*, uint64_t* size,
                                     aclOpExecutor** executor) {
    return tile(size, executor);
}
aclnnStatus aclnnAdd(void*, uint64_t, aclOpExecutor* executor, aclrtStream stream) { return launch(executor, stream); }

aclnnStatus aclnnFlashAttentionScoreGetWorkspaceSize(const aclTensor*, const aclTensor*, const aclTensor*,
                                                     const aclTensor*, const aclTensor*, const aclTensor*,
                                                     const aclTensor*, const aclIntArray*, double scale, double keep,
                                                     int64_t, int64_t, int64_t, char*, int64_t, int64_t sparse,
                                                     const aclTensor*, const aclTensor*, const aclTensor*,
                                                     const aclTensor*, uint64_t* size, aclOpExecutor** executor) {
    null_record()->reals[0] = scale;
    null_record()->reals[1] = keep;
    null_record()->last_integer = sparse;
    return tile(size, executor);
}
aclnnStatus aclnnFlashAttentionScore(void*, uint64_t, aclOpExecutor* executor, aclrtStream stream) {
    return launch(executor, stream);
}

aclnnStatus aclnnAddRmsNormCastGetWorkspaceSize(const aclTensor*, const aclTensor*, uint64_t* size,
                                                aclOpExecutor** executor) {
    return tile(size, executor);
}
aclnnStatus aclnnAddRmsNormCast(void*, uint64_t, aclOpExecutor* executor, aclrtStream stream) {
    return launch(executor, stream);
}
}
