// SPDX-License-Identifier: Apache-2.0
//
// What the software NPU itself costs a program per operator, launched from one thread, with the free clock and math
// skipped: descriptors made, both phases called, descriptors destroyed, as torch_npu does it. What is queued is waited
// for outside of the measured time, so the stream's worker runs beside the launching thread as it does in a program.
//
//     softnpu_launch_bench [--benchmark_format=json]
#include <benchmark/benchmark.h>
#include <flexnpu_abi/acl_rt.h>
#include <flexnpu_abi/aclnn.h>

#include <array>
#include <cstdlib>

extern "C" {
aclnnStatus aclnnAddGetWorkspaceSize(const aclTensor* self, const aclTensor* other, const aclScalar* alpha,
                                     const aclTensor* out, uint64_t* workspaceSize, aclOpExecutor** executor);
aclnnStatus aclnnAdd(void* workspace, uint64_t workspaceSize, aclOpExecutor* executor, aclrtStream stream);
aclnnStatus aclnnMatmulGetWorkspaceSize(const aclTensor* self, const aclTensor* mat2, aclTensor* out,
                                        int8_t cubeMathType, uint64_t* workspaceSize, aclOpExecutor** executor);
aclnnStatus aclnnMatmul(void* workspace, uint64_t workspaceSize, aclOpExecutor* executor, aclrtStream stream);
}

namespace {

constexpr int kBatch = 1000;
constexpr int64_t kSide = 64;

struct Device {
    Device() {
        aclInit(nullptr);
        aclrtSetDevice(0);
        aclrtCreateStream(&stream);
        for (void*& address : data) {
            aclrtMalloc(&address, kSide * kSide * sizeof(float), ACL_MEM_MALLOC_HUGE_FIRST);
        }
    }
    aclrtStream stream = nullptr;
    std::array<void*, 3> data{};
};

Device& device() {
    static Device opened;
    return opened;
}

aclTensor* matrix(void* data) {
    constexpr std::array<int64_t, 2> sizes{kSide, kSide};
    constexpr std::array<int64_t, 2> strides{kSide, 1};
    return aclCreateTensor(sizes.data(), 2, ACL_FLOAT, strides.data(), 0, ACL_FORMAT_ND, sizes.data(), 2, data);
}

void add(Device& on) {
    float one = 1.0F;
    aclScalar* const alpha = aclCreateScalar(&one, ACL_FLOAT);
    aclTensor* const a = matrix(on.data[0]);
    aclTensor* const b = matrix(on.data[1]);
    aclTensor* const c = matrix(on.data[2]);
    uint64_t workspace = 0;
    aclOpExecutor* executor = nullptr;
    aclnnAddGetWorkspaceSize(a, b, alpha, c, &workspace, &executor);
    aclnnAdd(nullptr, workspace, executor, on.stream);
    aclDestroyTensor(a);
    aclDestroyTensor(b);
    aclDestroyTensor(c);
    aclDestroyScalar(alpha);
}

void matmul(Device& on) {
    aclTensor* const a = matrix(on.data[0]);
    aclTensor* const b = matrix(on.data[1]);
    aclTensor* const c = matrix(on.data[2]);
    uint64_t workspace = 0;
    aclOpExecutor* executor = nullptr;
    aclnnMatmulGetWorkspaceSize(a, b, c, 1, &workspace, &executor);
    aclnnMatmul(nullptr, workspace, executor, on.stream);
    aclDestroyTensor(a);
    aclDestroyTensor(b);
    aclDestroyTensor(c);
}

template <void (*Operator)(Device&)>
void launch(benchmark::State& state) {
    Device& on = device();
    int queued = 0;
    for (auto _ : state) {
        Operator(on);
        if (++queued == kBatch) {
            state.PauseTiming();
            aclrtSynchronizeStream(on.stream);
            queued = 0;
            state.ResumeTiming();
        }
    }
    aclrtSynchronizeStream(on.stream);
}

}  // namespace

BENCHMARK(launch<add>)->Name("launch/aclnnAdd")->UseRealTime();
BENCHMARK(launch<matmul>)->Name("launch/aclnnMatmul")->UseRealTime();

int main(int argc, char** argv) {
    setenv("FLEXNPU_SOFTNPU_CLOCK", "free", 1);
    setenv("FLEXNPU_SOFTNPU_MATH", "skip", 1);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
        return 2;
    }
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
