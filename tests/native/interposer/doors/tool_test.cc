// SPDX-License-Identifier: Apache-2.0
// Beside a library that was preloaded before libflexnpu.so and goes on by RTLD_NEXT.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "caller.h"
#include "daemon.h"

namespace {

uint64_t tool_calls() { return *reinterpret_cast<uint64_t* (*)()>(dlsym(RTLD_DEFAULT, "tool_calls"))(); }

void expect_counted(const Calls& calls, uint64_t through_the_tool) {
    Daemon daemon;
    void* block = nullptr;
    ASSERT_EQ(calls.allocate(&block, 64, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
    ASSERT_EQ(calls.launch(nullptr, 8, nullptr, nullptr, nullptr, 0, nullptr, 0), ACL_SUCCESS);
    EXPECT_EQ(tool_calls(), through_the_tool);
    EXPECT_EQ(daemon.memory_used(), 64u);
    EXPECT_EQ(null_record()->allocations, 1u);
    EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_KERNEL], 1u);
    EXPECT_EQ(null_record()->kernels, 1u);
}

TEST(AnotherPreload, its_next_is_ours) {
    expect_counted({&aclrtLaunchKernelWithHostArgs, &aclrtMalloc, &aclrtFree, null_record()}, 2);
}

TEST(AnotherPreload, a_lookup_finds_it_and_then_us) {
    const auto find = [](void* handle, const char* name) { return dlsym(handle, name); };
    void* program = dlopen(nullptr, RTLD_LAZY);
    for (void* handle : {static_cast<void*>(RTLD_DEFAULT), program}) {
        EXPECT_EQ(find(handle, "aclrtMalloc"), reinterpret_cast<void*>(&aclrtMalloc));
    }
    expect_counted(
        {reinterpret_cast<decltype(Calls::launch)>(find(program, "aclrtLaunchKernelWithHostArgs")),
         reinterpret_cast<decltype(Calls::allocate)>(find(RTLD_DEFAULT, "aclrtMalloc")), &aclrtFree, null_record()},
        2);
}

TEST(AnotherPreload, a_plugin_opened_after_a_deep_bound_one_still_goes_through_it) {
    ASSERT_NE(dlopen(CALLER_NOW, RTLD_NOW | RTLD_DEEPBIND), nullptr);
    void* handle = dlopen(CALLER_LAZY, RTLD_LAZY);
    ASSERT_NE(handle, nullptr);
    expect_counted(reinterpret_cast<Calls (*)()>(dlsym(handle, "caller_direct"))(), 2);
}

}  // namespace
