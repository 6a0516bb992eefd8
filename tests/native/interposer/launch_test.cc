// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "daemon.h"
#include "nullacl.h"

extern "C" void* next_of_third_library(const char* name);  // RTLD_NEXT, asked by libthird.so

namespace {

using Launch = decltype(&aclrtLaunchKernelWithHostArgs);
constexpr const char* kName = "aclrtLaunchKernelWithHostArgs";

void launch_once(Launch launch) {
    ASSERT_NE(launch, nullptr);
    EXPECT_EQ(launch(nullptr, 8, nullptr, nullptr, nullptr, 0, nullptr, 0), ACL_SUCCESS);
}

class Launches : public testing::Test {
  protected:
    void expect_one() {
        EXPECT_EQ(null_record()->kernels, 1u);
        EXPECT_EQ(null_record()->blocks, 8u);
        EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_KERNEL], 1u);
    }
    Daemon daemon;
};

TEST_F(Launches, by_the_public_name_counts_once) {
    launch_once(aclrtLaunchKernelWithHostArgs);
    expect_one();
}

TEST_F(Launches, by_the_impl_name_counts_once) {
    launch_once(aclrtLaunchKernelWithHostArgsImpl);
    expect_one();
}

TEST_F(Launches, by_the_layer_below_counts_once) {
    EXPECT_EQ(rtKernelLaunch(nullptr, 8, nullptr, 0, nullptr, nullptr), 0);
    expect_one();
}

TEST_F(Launches, by_a_lookup_on_the_librarys_handle_counts_once) {
    void* handle = dlopen("libascendcl.so", RTLD_LAZY);
    ASSERT_NE(handle, nullptr);
    launch_once(reinterpret_cast<Launch>(dlsym(handle, kName)));
    expect_one();
}

TEST_F(Launches, by_a_lookup_on_the_default_handle_counts_once) {
    launch_once(reinterpret_cast<Launch>(dlsym(RTLD_DEFAULT, kName)));
    expect_one();
}

TEST_F(Launches, by_a_phase_two_counts_once) {
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    ASSERT_EQ(aclnnAddGetWorkspaceSize(nullptr, nullptr, nullptr, nullptr, &size, &executor), ACL_SUCCESS);
    ASSERT_EQ(aclnnAdd(nullptr, size, executor, nullptr), ACL_SUCCESS);
    EXPECT_EQ(null_record()->blocks, 12u);
    EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_KERNEL], 1u);
    EXPECT_EQ(daemon.page().tiled, 1u);
    EXPECT_EQ(daemon.page().launched, 1u);
}

TEST_F(Launches, copies_and_graphs_have_counters_of_their_own) {
    aclrtSetDevice(0);
    aclrtMemcpyAsync(nullptr, 0, nullptr, 0, ACL_MEMCPY_DEVICE_TO_DEVICE, nullptr);
    aclmdlRI graph = nullptr;
    aclrtStream stream = nullptr;
    aclrtCreateStream(&stream);
    aclmdlRICaptureBegin(stream, ACL_MODEL_RI_CAPTURE_MODE_RELAXED);
    aclmdlRICaptureEnd(stream, &graph);
    aclmdlRIExecuteAsync(graph, stream);
    EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_COPY], 1u);
    EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_GRAPH], 1u);
    EXPECT_EQ(daemon.page().ungoverned, 0u);
    daemon.publish(2, 6, 12);
    aclmdlRIExecuteAsync(graph, stream);
    EXPECT_EQ(daemon.page().ungoverned, 0u) << "a replay that uses more cores than are granted is the gate's matter";
    aclmdlRIDestroy(graph);
}

TEST(Lookup, a_name_that_the_real_library_lacks_is_not_found) {
    EXPECT_EQ(dlsym(RTLD_DEFAULT, "aclrtMallocCached"), nullptr);
    EXPECT_NE(dlerror(), nullptr);
    void* handle = dlopen("libopapi.so", RTLD_LAZY);
    EXPECT_EQ(dlsym(handle, "aclnnAbs"), nullptr);
    EXPECT_EQ(dlsym(handle, "aclnnAbsGetWorkspaceSize"), nullptr);
    EXPECT_NE(dlsym(handle, "aclnnAdd"), nullptr);
}

TEST(Lookup, what_is_not_in_the_tables_goes_to_the_real_lookup) {
    EXPECT_EQ(dlsym(RTLD_DEFAULT, "null_record"), reinterpret_cast<void*>(&null_record));
#if defined(__x86_64__)
    const char* oldest = "GLIBC_2.2.5";
#else
    const char* oldest = "GLIBC_2.17";
#endif
    EXPECT_EQ(dlvsym(RTLD_DEFAULT, "no_such_name", oldest), nullptr);
    EXPECT_NE(dlvsym(RTLD_DEFAULT, "malloc", oldest), nullptr);
}

TEST(Lookup, the_next_of_a_third_library_is_counted_from_its_caller) {
    // libthird.so and libfourth.so both define third_answer; the next one after libthird.so is libfourth.so's.
    using Answer = int (*)();
    auto answer = reinterpret_cast<Answer>(next_of_third_library("third_answer"));
    ASSERT_NE(answer, nullptr);
    EXPECT_EQ(answer(), 4);
    // And for a name of the tables it is what stands behind the caller, not libflexnpu.so before it.
    void* launch = next_of_third_library(kName);
    Dl_info info{};
    ASSERT_NE(dladdr(launch, &info), 0);
    EXPECT_NE(std::string(info.dli_fname).find("libascendcl.so"), std::string::npos) << info.dli_fname;
}

TEST(PhaseOne, every_parameter_arrives) {
    Daemon daemon;
    uint64_t size = 1;
    aclOpExecutor* executor = nullptr;
    ASSERT_EQ(aclnnFlashAttentionScoreGetWorkspaceSize(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                                       nullptr, 0.125, 0.75, 1, 2, 3, nullptr, 4, 77, nullptr, nullptr,
                                                       nullptr, nullptr, &size, &executor),
              ACL_SUCCESS);
    EXPECT_EQ(null_record()->reals[0], 0.125);
    EXPECT_EQ(null_record()->reals[1], 0.75);
    EXPECT_EQ(null_record()->last_integer, 77);
    EXPECT_EQ(size, 0u);
    ASSERT_NE(executor, nullptr);
    EXPECT_EQ(aclnnFlashAttentionScore(nullptr, 0, executor, nullptr), ACL_SUCCESS);
}

}  // namespace
