// SPDX-License-Identifier: Apache-2.0
// What a call of AscendCL costs on the null device, by the door it is made through. Run twice, directly and with
// libflexnpu.so preloaded on a vNPU; `flexnpu bench overhead` does that in turns and takes the difference.
#include <benchmark/benchmark.h>
#include <dlfcn.h>

#include "null/device.h"

namespace {

aclrtStream stream;
aclrtEvent event;
aclmdlRI graph;
char arguments[64];
char function[64];

void launch_with_host_args() {
    aclrtLaunchKernelWithHostArgs(function, 8, stream, nullptr, arguments, sizeof arguments, nullptr, 0);
}
void launch() { aclrtLaunchKernel(function, 8, arguments, sizeof arguments, stream); }
void launch_v2() { aclrtLaunchKernelV2(function, 8, arguments, sizeof arguments, nullptr, stream); }
void launch_with_config() { aclrtLaunchKernelWithConfig(function, 8, stream, nullptr, arguments, nullptr); }
void launch_with_args_array() {
    void* list[] = {arguments};
    aclrtLaunchKernelWithArgsArray(function, 8, stream, nullptr, list);
}
void launch_impl() {
    aclrtLaunchKernelWithHostArgsImpl(function, 8, stream, nullptr, arguments, sizeof arguments, nullptr, 0);
}
void launch_rt() { rtKernelLaunch(function, 8, arguments, sizeof arguments, nullptr, stream); }

void launch_by_handle() {
    using Launch = decltype(&aclrtLaunchKernelWithHostArgs);
    static const auto found = reinterpret_cast<Launch>(
        dlsym(dlopen("libascendcl.so", RTLD_LAZY | RTLD_LOCAL), "aclrtLaunchKernelWithHostArgs"));
    found(function, 8, stream, nullptr, arguments, sizeof arguments, nullptr, 0);
}

void replay() { aclmdlRIExecuteAsync(graph, stream); }
void copy() { aclrtMemcpyAsync(arguments, 64, function, 64, ACL_MEMCPY_DEVICE_TO_DEVICE, stream); }
void fill() { aclrtMemsetAsync(arguments, 64, 0, 64, stream); }
void record_event() { aclrtRecordEvent(event, stream); }
void synchronize_stream() { aclrtSynchronizeStream(stream); }

void malloc_and_free() {
    void* block = nullptr;
    aclrtMalloc(&block, 4096, ACL_MEM_MALLOC_HUGE_FIRST);
    benchmark::DoNotOptimize(block);
    aclrtFree(block);
}

void core_count() {
    uint32_t cores = 0;
    aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores);
    benchmark::DoNotOptimize(cores);
}

void both_phases() {
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    aclnnAddGetWorkspaceSize(nullptr, nullptr, nullptr, nullptr, &size, &executor);
    aclnnAdd(nullptr, size, executor, stream);
}

template <void (*Call)()>
void calls(benchmark::State& state) {
    for (auto _ : state) Call();
}

bool prepare() {
    if (aclInit(nullptr) != ACL_SUCCESS || aclrtSetDevice(0) != ACL_SUCCESS) return false;
    aclrtCreateStream(&stream);
    aclrtCreateEventExWithFlag(&event, ACL_EVENT_TIME_LINE);
    aclmdlRICaptureBegin(stream, ACL_MODEL_RI_CAPTURE_MODE_RELAXED);
    return aclmdlRICaptureEnd(stream, &graph) == ACL_SUCCESS;
}

// Whose functions a call reaches: what says that the two sides are what they are taken for.
const char* server() {
    Dl_info found{};
    return dladdr(dlsym(RTLD_DEFAULT, "aclrtLaunchKernelWithHostArgs"), &found) != 0 ? found.dli_fname : "";
}

}  // namespace

BENCHMARK(calls<launch_with_host_args>)->Name("launch/aclrtLaunchKernelWithHostArgs");
BENCHMARK(calls<launch>)->Name("launch/aclrtLaunchKernel");
BENCHMARK(calls<launch_v2>)->Name("launch/aclrtLaunchKernelV2");
BENCHMARK(calls<launch_with_config>)->Name("launch/aclrtLaunchKernelWithConfig");
BENCHMARK(calls<launch_with_args_array>)->Name("launch/aclrtLaunchKernelWithArgsArray");
BENCHMARK(calls<launch_impl>)->Name("launch/aclrtLaunchKernelWithHostArgsImpl");
BENCHMARK(calls<launch_rt>)->Name("launch/rtKernelLaunch");
BENCHMARK(calls<launch_by_handle>)->Name("launch/dlsym on a handle");
BENCHMARK(calls<replay>)->Name("launch/graph replay");
BENCHMARK(calls<copy>)->Name("launch/aclrtMemcpyAsync");
BENCHMARK(calls<fill>)->Name("launch/aclrtMemsetAsync");
BENCHMARK(calls<both_phases>)->Name("operator, both phases");
BENCHMARK(calls<malloc_and_free>)->Name("malloc and free");
BENCHMARK(calls<record_event>)->Name("record event");
BENCHMARK(calls<synchronize_stream>)->Name("synchronise stream");
BENCHMARK(calls<core_count>)->Name("core count");

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    if (!prepare()) return 1;
    benchmark::AddCustomContext("served_by", server());
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
