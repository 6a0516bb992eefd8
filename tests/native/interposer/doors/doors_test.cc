// SPDX-License-Identifier: Apache-2.0
// Every way by which a program reaches the device: a launch and an allocation through it are counted exactly once and
// reach the device exactly once.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>

#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "caller.h"
#include "daemon.h"

namespace {

struct Door {
    const char* name;
    Calls (*open)();
};

template <typename Function>
Function look_up(void* handle, const char* name) {
    return reinterpret_cast<Function>(dlsym(handle, name));
}

Calls looked_up_on(void* handle) {
    return {look_up<decltype(Calls::launch)>(handle, "aclrtLaunchKernelWithHostArgs"),
            look_up<decltype(Calls::allocate)>(handle, "aclrtMalloc"),
            look_up<decltype(Calls::release)>(handle, "aclrtFree"), null_record()};
}

Calls versioned() {
    const auto find = [](const char* name) { return dlvsym(RTLD_DEFAULT, name, "CANN_1"); };
    return {reinterpret_cast<decltype(Calls::launch)>(find("aclrtLaunchKernelWithHostArgs")),
            reinterpret_cast<decltype(Calls::allocate)>(find("aclrtMalloc")),
            reinterpret_cast<decltype(Calls::release)>(find("aclrtFree")), null_record()};
}

// The layer below, in the clothes of the public names.
aclError launch_below(aclrtFuncHandle function, uint32_t blocks, aclrtStream stream, aclrtLaunchKernelCfg*, void* args,
                      size_t size, aclrtPlaceHolderInfo*, size_t) {
    return rtKernelLaunch(function, blocks, args, static_cast<uint32_t>(size), nullptr, stream);
}
aclError allocate_below(void** block, size_t bytes, aclrtMemMallocPolicy) { return rtMalloc(block, bytes, 0, 0); }

using Ask = Calls (*)();

Calls plugin(const char* path, int mode, const char* how) {
    void* handle = dlopen(path, mode);
    EXPECT_NE(handle, nullptr) << dlerror();
    return look_up<Ask>(handle, how)();
}
Calls plugin_in_namespace(const char* path, const char* how) {
    void* handle = dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
    EXPECT_NE(handle, nullptr) << dlerror();
    return look_up<Ask>(handle, how)();
}
constexpr int kDeepNow = RTLD_NOW | RTLD_DEEPBIND;
constexpr int kDeepLazy = RTLD_LAZY | RTLD_DEEPBIND;

constexpr Door kDoors[] = {
    {"linked", [] { return Calls{&aclrtLaunchKernelWithHostArgs, &aclrtMalloc, &aclrtFree, null_record()}; }},
    {"linked_to_the_impl_names",
     [] { return Calls{&aclrtLaunchKernelWithHostArgsImpl, &aclrtMallocImpl, &aclrtFreeImpl, null_record()}; }},
    {"linked_to_the_layer_below", [] { return Calls{launch_below, allocate_below, &rtFree, null_record()}; }},
    {"looked_up_on_the_librarys_handle", [] { return looked_up_on(dlopen("libascendcl.so", RTLD_LAZY)); }},
    {"looked_up_on_the_default_handle", [] { return looked_up_on(RTLD_DEFAULT); }},
    {"looked_up_with_a_version", versioned},
    {"a_plugin", [] { return plugin(CALLER_NOW, RTLD_NOW, "caller_direct"); }},
    {"a_deep_bound_plugin", [] { return plugin(CALLER_NOW, kDeepNow, "caller_direct"); }},
    {"a_lazy_deep_bound_plugin", [] { return plugin(CALLER_LAZY, kDeepLazy, "caller_direct"); }},
    {"a_deep_bound_plugins_table", [] { return plugin(CALLER_NOW, kDeepNow, "caller_by_table"); }},
    {"a_deep_bound_plugins_lookups", [] { return plugin(CALLER_NOW, kDeepNow, "caller_by_lookup"); }},
    {"a_plugin_in_a_namespace", [] { return plugin_in_namespace(CALLER_NOW, "caller_direct"); }},
    {"a_lazy_plugin_in_a_namespace", [] { return plugin_in_namespace(CALLER_LAZY, "caller_direct"); }},
    {"a_namespaces_table", [] { return plugin_in_namespace(CALLER_NOW, "caller_by_table"); }},
    {"a_namespaces_lookups", [] { return plugin_in_namespace(CALLER_NOW, "caller_by_lookup"); }},
    {"looked_up_in_a_namespace",
     [] {
         void* handle = dlmopen(LM_ID_NEWLM, CALLER_NOW, RTLD_NOW);
         Calls calls = looked_up_on(handle);
         calls.record = look_up<decltype(&null_record)>(handle, "null_record")();
         return calls;
     }},
};

class Doors : public testing::TestWithParam<Door> {};

TEST_P(Doors, a_launch_counts_once) {
    Daemon daemon;
    const Calls calls = GetParam().open();
    ASSERT_NE(calls.launch, nullptr);
    ASSERT_EQ(calls.launch(nullptr, 8, nullptr, nullptr, nullptr, 0, nullptr, 0), ACL_SUCCESS);
    EXPECT_EQ(calls.record->kernels, 1u);
    EXPECT_EQ(calls.record->blocks, 8u);
    ASSERT_EQ(daemon.tenants(), 1u);
    EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_KERNEL], 1u);
    EXPECT_EQ(daemon.page().ungoverned, 0u);
}

TEST_P(Doors, an_allocation_is_charged_once) {
    Daemon daemon({.memory_bytes = 100});
    const Calls calls = GetParam().open();
    ASSERT_NE(calls.allocate, nullptr);
    void* block = nullptr;
    ASSERT_EQ(calls.allocate(&block, 64, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
    EXPECT_EQ(calls.record->allocations, 1u);
    EXPECT_EQ(daemon.memory_used(), 64u);
    void* more = nullptr;
    EXPECT_EQ(calls.allocate(&more, 37, ACL_MEM_MALLOC_HUGE_FIRST), ACL_ERROR_RT_MEMORY_ALLOCATION);
    EXPECT_EQ(calls.record->allocations, 1u);
    EXPECT_EQ(calls.release(block), ACL_SUCCESS);
    EXPECT_EQ(calls.record->frees, 1u);
    EXPECT_EQ(daemon.memory_used(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Every, Doors, testing::ValuesIn(kDoors), [](const auto& door) { return door.param.name; });

class Below : public testing::Test {
  protected:
    uint64_t count(flexnpu_launch_kind kind) { return daemon.report().launches[kind]; }
    Daemon daemon;
};

TEST_F(Below, a_launch_over_another_counts_once) {
    EXPECT_EQ(rtKernelLaunchEx(nullptr, 0, 0, nullptr), 0);
    EXPECT_EQ(null_record()->kernels, 1u);
    EXPECT_EQ(count(FLEXNPU_LAUNCH_KERNEL), 1u);
    EXPECT_EQ(rtKernelLaunchFwk("", nullptr, 0, 0, nullptr), 0);
    EXPECT_EQ(count(FLEXNPU_LAUNCH_KERNEL), 2u);
}

TEST_F(Below, parameters_on_the_stack_arrive) {
    EXPECT_EQ(rtKernelLaunchWithFlagV2(nullptr, 5, nullptr, nullptr, nullptr, 0, null_record()), 0);
    EXPECT_EQ(null_record()->last_argument, reinterpret_cast<uint64_t>(null_record()));
    EXPECT_EQ(null_record()->blocks, 5u);
    EXPECT_EQ(rtLaunchSIMTKernelWithHostArgs(nullptr, 7, 1, 0, nullptr, nullptr, nullptr, 0, nullptr, 4711), 0);
    EXPECT_EQ(null_record()->last_argument, 4711u);
    EXPECT_EQ(null_record()->blocks, 7u);
    EXPECT_EQ(count(FLEXNPU_LAUNCH_KERNEL), 2u);
}

TEST_F(Below, structures_by_value_arrive) {
    EXPECT_EQ(aclrtLaunchSIMTKernelWithHostArgs(nullptr, {2, 3, 5}, {1, 1, 1}, 0, nullptr, nullptr, nullptr, 0, nullptr,
                                                4711),
              0);
    EXPECT_EQ(null_record()->blocks, 30u);
    EXPECT_EQ(null_record()->last_argument, 4711u);
    EXPECT_EQ(count(FLEXNPU_LAUNCH_KERNEL), 1u);
}

TEST_F(Below, each_kind_has_its_counter) {
    EXPECT_EQ(rtMemcpyAsync(nullptr, 0, nullptr, 0, 0, nullptr), 0);
    EXPECT_EQ(rtMemcpy(nullptr, 0, nullptr, 0, 0), 0);
    EXPECT_EQ(rtMemset(nullptr, 0, 0, 0), 0);
    EXPECT_EQ(rtModelExecute(nullptr, nullptr, 0), 0);
    EXPECT_EQ(null_record()->copies, 3u);
    EXPECT_EQ(null_record()->graphs, 1u);
    EXPECT_EQ(count(FLEXNPU_LAUNCH_COPY), 2u);
    EXPECT_EQ(count(FLEXNPU_LAUNCH_SET), 1u);
    EXPECT_EQ(count(FLEXNPU_LAUNCH_GRAPH), 1u);
}

TEST_F(Below, copies_and_fills_that_do_not_queue_count_once) {
    EXPECT_EQ(aclrtMemcpy(nullptr, 0, nullptr, 0, ACL_MEMCPY_HOST_TO_DEVICE), ACL_SUCCESS);
    EXPECT_EQ(aclrtMemset(nullptr, 0, 0, 0), ACL_SUCCESS);
    EXPECT_EQ(null_record()->copies, 2u);
    EXPECT_EQ(count(FLEXNPU_LAUNCH_COPY), 1u);
    EXPECT_EQ(count(FLEXNPU_LAUNCH_SET), 1u);
}

TEST_F(Below, memory_of_the_host_is_not_charged) {
    void* block = nullptr;
    ASSERT_EQ(rtMalloc(&block, 64, RT_MEMORY_HOST, 0), 0);
    EXPECT_EQ(daemon.memory_used(), 0u);
    EXPECT_EQ(rtFree(block), 0);
}

TEST(Unlisted, a_name_is_told_once_and_left_alone) {
    Daemon daemon;
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    void* runtime = dlopen("libruntime.so", RTLD_LAZY);
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(dlsym(runtime, "rtUnheardOfKernelLaunch"), reinterpret_cast<void*>(&rtUnheardOfKernelLaunch));
        EXPECT_EQ(dlsym(RTLD_DEFAULT, "rtUnheardOfKernelLaunch"), reinterpret_cast<void*>(&rtUnheardOfKernelLaunch));
    }
    EXPECT_EQ(daemon.page().ungoverned, 1u);
    EXPECT_NE(dlsym(RTLD_DEFAULT, "aclrtUnheardOfMalloc"), nullptr);
    EXPECT_EQ(daemon.page().ungoverned, 2u);
    // What only sounds like an allocation, and what is nowhere.
    EXPECT_NE(dlsym(RTLD_DEFAULT, "aclrtGetUnheardOfMallocInfo"), nullptr);
    EXPECT_EQ(dlsym(RTLD_DEFAULT, "aclrtNowhereMalloc"), nullptr);
    EXPECT_EQ(daemon.page().ungoverned, 2u);
}

TEST(Unlisted, a_name_looked_up_before_the_attach_is_told_after_it) {
    Daemon daemon;
    setenv("FLEXNPU_LOG", "info", 1);
    testing::internal::CaptureStderr();
    EXPECT_NE(dlsym(RTLD_DEFAULT, "aclrtUnheardOfMalloc"), nullptr);
    EXPECT_NE(testing::internal::GetCapturedStderr().find("aclrtUnheardOfMalloc is not in the tables"),
              std::string::npos);
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    EXPECT_EQ(daemon.page().ungoverned, 1u);
}

TEST(Scopes, a_plugin_keeps_its_own_run_path) {
    ASSERT_EQ(dlopen("libdoor_beside.so", RTLD_NOW), nullptr) << "the test itself must not find it";
    for (const int mode : {RTLD_NOW, kDeepNow}) {
        void* handle = dlopen(mode == RTLD_NOW ? CALLER_LAZY : CALLER_NOW, mode);
        void* beside = look_up<decltype(&caller_opens)>(handle, "caller_opens")("libdoor_beside.so");
        ASSERT_NE(beside, nullptr) << dlerror();
        dlclose(beside);
    }
}

TEST(Scopes, a_plugin_that_is_opened_again_and_again_is_governed_each_time) {
    constexpr int kRounds = 200;
    Daemon daemon;
    const auto rounds = [](const char* path) {
        for (int i = 0; i < kRounds; ++i) {
            void* handle = dlopen(path, kDeepLazy);
            const Calls calls = look_up<Ask>(handle, "caller_direct")();
            calls.launch(nullptr, 8, nullptr, nullptr, nullptr, 0, nullptr, 0);
            dlclose(handle);
        }
    };
    std::thread other(rounds, CALLER_LAZY);
    rounds(CALLER_NOW);
    other.join();
    EXPECT_EQ(null_record()->kernels, 2u * kRounds);
    EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_KERNEL], 2u * kRounds);
}

// Where the part begins that is read-only once it is relocated, of the object whose name holds `name`.
uintptr_t protected_part(const char* name) {
    std::pair<const char*, uintptr_t> search{name, 0};
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* data) {
            auto& [wanted, found] = *static_cast<std::pair<const char*, uintptr_t>*>(data);
            if (strstr(info->dlpi_name, wanted) == nullptr) return 0;
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                if (info->dlpi_phdr[i].p_type == PT_GNU_RELRO) found = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            }
            return 1;
        },
        &search);
    return search.second;
}

std::string protection_of(uintptr_t address) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        uintptr_t begin = 0, end = 0;
        char protection[5] = "";
        if (sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, protection) == 3 && begin <= address && address < end) {
            return protection;
        }
    }
    return "";
}

TEST(Scopes, what_was_bound_past_the_preload_keeps_its_protection) {
    const Calls table = plugin(CALLER_NOW, kDeepNow, "caller_by_table");
    EXPECT_EQ(table.allocate, &aclrtMalloc) << "a word in the protected part was set";
    const uintptr_t part = protected_part("libdoor_caller_now.so");
    ASSERT_NE(part, 0u);
    EXPECT_EQ(protection_of(part), "r--p");
}

}  // namespace
