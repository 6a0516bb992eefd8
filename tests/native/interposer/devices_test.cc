// SPDX-License-Identifier: Apache-2.0
// A vNPU of several devices: the program counts them from 0, each has its own limits.
#include <gtest/gtest.h>

#include <thread>

#include "daemon.h"
#include "nullacl.h"

namespace {

constexpr auto kPolicy = ACL_MEM_MALLOC_HUGE_FIRST;

// Devices 3 and 1 of four; the second grants less.
class Devices : public testing::Test {
  protected:
    void SetUp() override {
        daemon.publish(2, 5, 10, 1);
        daemon.limit_memory(500, 1);
        ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    }
    Daemon daemon{{.devices = {3, 1}, .cube = 12, .vector = 24, .memory_bytes = 1000}};
};

uint32_t cube_cores() {
    uint32_t cores = 0;
    aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores);
    return cores;
}

aclrtPhysicalMemProp on_device(uint32_t ordinal) {
    aclrtPhysicalMemProp prop{};
    prop.location = {ordinal, ACL_MEM_LOCATION_TYPE_DEVICE};
    return prop;
}

TEST_F(Devices, the_program_counts_them_from_zero) {
    uint32_t count = 0;
    ASSERT_EQ(aclrtGetDeviceCount(&count), ACL_SUCCESS);
    EXPECT_EQ(count, 2u);
    ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    EXPECT_EQ(null_record()->device, 1);
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    EXPECT_EQ(null_record()->device, 3);
    EXPECT_EQ(aclrtSetDevice(2), ACL_ERROR_RT_INVALID_DEVICEID);
    int32_t device = -1;
    ASSERT_EQ(aclrtGetDevice(&device), ACL_SUCCESS);
    EXPECT_EQ(device, 0);
}

TEST_F(Devices, each_has_its_own_memory_limit) {
    void* block = nullptr;
    ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    EXPECT_EQ(aclrtMalloc(&block, 600, kPolicy), ACL_ERROR_RT_MEMORY_ALLOCATION);
    EXPECT_EQ(daemon.page().devices[1].memory_denied, 1u);
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    EXPECT_EQ(aclrtMalloc(&block, 600, kPolicy), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(0), 600u);
    EXPECT_EQ(daemon.memory_used(1), 0u);
}

TEST_F(Devices, a_block_is_refunded_where_it_was_charged_whoever_frees_it) {
    void* block = nullptr;
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    ASSERT_EQ(aclrtMalloc(&block, 600, kPolicy), ACL_SUCCESS);
    std::thread([&] {
        ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
        EXPECT_EQ(aclrtFree(block), ACL_SUCCESS);
    }).join();
    EXPECT_EQ(daemon.memory_used(0), 0u);
    EXPECT_EQ(daemon.memory_used(1), 0u);
    EXPECT_EQ(daemon.ledger(1).slots[0].charged, 0u);
}

TEST_F(Devices, core_counts_are_those_of_the_device_that_is_asked_about) {
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 12u);
    int64_t value = 0;
    aclrtGetDeviceInfo(1, ACL_DEV_ATTR_CUBE_CORE_NUM, &value);
    EXPECT_EQ(value, 5);
    aclGetDeviceCapability(1, ACL_DEVICE_INFO_VECTOR_CORE_NUM, &value);
    EXPECT_EQ(value, 10);
    uint32_t cores = 0;
    aclrtGetDeviceResLimit(1, ACL_RT_DEV_RES_CUBE_CORE, &cores);
    EXPECT_EQ(cores, 5u);
    ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 5u);
    aclrtGetDeviceInfo(0, ACL_DEV_ATTR_CUBE_CORE_NUM, &value);
    EXPECT_EQ(value, 12);
}

TEST_F(Devices, a_thread_follows_its_context) {
    aclrtContext first = nullptr;
    aclrtContext second = nullptr;
    ASSERT_EQ(aclrtCreateContext(&second, 1), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 5u);
    ASSERT_EQ(aclrtCreateContext(&first, 0), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 12u);
    ASSERT_EQ(aclrtSetCurrentContext(second), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 5u);
    std::thread([&] {
        EXPECT_EQ(cube_cores(), 12u) << "a thread without a device has the first";
        ASSERT_EQ(aclrtSetCurrentContext(second), ACL_SUCCESS);
        EXPECT_EQ(cube_cores(), 5u);
    }).join();
    ASSERT_EQ(aclrtDestroyContext(second), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 12u);
    ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    ASSERT_EQ(aclrtResetDevice(1), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 12u);
}

TEST_F(Devices, launches_are_counted_where_they_go) {
    for (const int32_t device : {1, 1, 0}) {
        ASSERT_EQ(aclrtSetDevice(device), ACL_SUCCESS);
        aclrtLaunchKernelWithHostArgs(nullptr, 1, nullptr, nullptr, nullptr, 0, nullptr, 0);
    }
    EXPECT_EQ(daemon.page().devices[0].launches[FLEXNPU_LAUNCH_KERNEL], 1u);
    EXPECT_EQ(daemon.page().devices[1].launches[FLEXNPU_LAUNCH_KERNEL], 2u);
}

TEST_F(Devices, memory_calls_place_and_charge_by_the_location_they_name) {
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    aclrtDrvMemHandle handle = nullptr;
    aclrtPhysicalMemProp prop = on_device(1);
    EXPECT_EQ(aclrtMallocPhysical(&handle, 501, &prop, 0), ACL_ERROR_RT_MEMORY_ALLOCATION);
    ASSERT_EQ(aclrtMallocPhysical(&handle, 500, &prop, 0), ACL_SUCCESS);
    EXPECT_EQ(null_record()->device, 1);
    EXPECT_EQ(daemon.memory_used(0), 0u);
    EXPECT_EQ(daemon.memory_used(1), 500u);
    prop = on_device(2);
    EXPECT_EQ(aclrtMallocPhysical(&handle, 1, &prop, 0), ACL_ERROR_RT_INVALID_DEVICEID) << "device 2 is another vNPU's";
    EXPECT_EQ(daemon.memory_used(0), 0u);
}

TEST_F(Devices, a_pool_is_charged_where_it_is_placed) {
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    aclrtMemPoolProps props{};
    props.location = {1, ACL_MEM_LOCATION_TYPE_DEVICE};
    aclrtMemPool pool = nullptr;
    ASSERT_EQ(aclrtMemPoolCreate(&pool, &props), ACL_SUCCESS);
    void* block = nullptr;
    EXPECT_EQ(aclrtMemPoolMallocAsync(&block, 501, pool, nullptr), ACL_ERROR_RT_MEMORY_ALLOCATION);
    EXPECT_EQ(aclrtMemPoolMallocAsync(&block, 400, pool, nullptr), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(1), 400u);
}

TEST_F(Devices, peers_and_batches_name_them_too) {
    int32_t can = 0;
    ASSERT_EQ(aclrtDeviceCanAccessPeer(&can, 1, 0), ACL_SUCCESS);
    EXPECT_EQ(null_places()->peer, 3u);
    EXPECT_EQ(aclrtDeviceCanAccessPeer(&can, 0, 2), ACL_ERROR_RT_INVALID_DEVICEID);
    ASSERT_EQ(aclrtDeviceEnablePeerAccess(1, 0), ACL_SUCCESS);
    EXPECT_EQ(null_places()->peer, 1u);
    aclrtMemcpyBatchAttr attributes{};
    attributes.dstLoc = {0, ACL_MEM_LOCATION_TYPE_DEVICE};
    attributes.srcLoc = {1, ACL_MEM_LOCATION_TYPE_DEVICE};
    size_t index = 0;
    ASSERT_EQ(aclrtMemcpyBatch(nullptr, nullptr, nullptr, nullptr, 1, &attributes, &index, 1, nullptr), ACL_SUCCESS);
    EXPECT_EQ(null_places()->batch_places[0], 3u);
    EXPECT_EQ(null_places()->batch_places[1], 1u);
}

TEST_F(Devices, memory_info_is_of_the_threads_device) {
    ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    void* block = nullptr;
    ASSERT_EQ(aclrtMalloc(&block, 100, kPolicy), ACL_SUCCESS);
    size_t free = 0;
    size_t total = 0;
    ASSERT_EQ(aclrtGetMemInfo(ACL_HBM_MEM, &free, &total), ACL_SUCCESS);
    EXPECT_EQ(free, 400u);
    EXPECT_EQ(total, 500u);
}

// --- narrowed from inside ---

struct Narrowed {
    Narrowed(const char* outer, const char* inner) {
        setenv("FLEXNPU_NODE_VISIBLE_DEVICES", outer, 1);
        setenv("ASCEND_RT_VISIBLE_DEVICES", inner, 1);
    }
};

TEST(Visible, a_list_from_inside_counts_the_vnpus_devices_and_the_runtime_sees_the_nodes) {
    const Narrowed lists("0,1,2,3", "2,0");
    Daemon daemon({.devices = {3, 1, 2}});
    uint32_t count = 0;
    ASSERT_EQ(aclrtGetDeviceCount(&count), ACL_SUCCESS);
    EXPECT_EQ(count, 2u);
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    EXPECT_EQ(null_record()->device, 2);
    ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    EXPECT_EQ(null_record()->device, 3);
    EXPECT_EQ(aclrtSetDevice(2), ACL_ERROR_RT_INVALID_DEVICEID);
    EXPECT_STREQ(getenv("ASCEND_RT_VISIBLE_DEVICES"), "0,1,2,3");
    EXPECT_STREQ(getenv("FLEXNPU_VISIBLE_DEVICES"), "2,0") << "for its children";
    void* block = nullptr;
    ASSERT_EQ(aclrtMalloc(&block, 10, kPolicy), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(0), 10u) << "the ledger counts as the daemon does";
}

TEST(Visible, a_device_that_is_hidden_still_follows_its_grants) {
    const Narrowed lists("", "1");
    Daemon daemon({.devices = {3, 1}});
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    daemon.publish(2, 4, 8, 0);
    EXPECT_TRUE(eventually([&] { return daemon.page().devices[0].applied_grant == 2; }));
    EXPECT_EQ(getenv("ASCEND_RT_VISIBLE_DEVICES"), nullptr);
}

TEST(Visible, a_child_that_is_started_anew_sees_what_its_parent_saw) {
    const Narrowed lists("0,1", "0,1");
    setenv("FLEXNPU_VISIBLE_DEVICES", "1", 1);  // as a narrowed parent leaves it
    Daemon daemon({.devices = {0, 1}});
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    EXPECT_EQ(null_record()->device, 1);
}

TEST(Visible, a_list_from_outside_is_the_runtimes_business) {
    const Narrowed lists("2,3", "2,3");
    Daemon daemon({.devices = {0, 1}});
    uint32_t count = 0;
    ASSERT_EQ(aclrtGetDeviceCount(&count), ACL_SUCCESS);
    EXPECT_EQ(count, 2u);
    EXPECT_STREQ(getenv("ASCEND_RT_VISIBLE_DEVICES"), "2,3");
}

class BadLists : public testing::TestWithParam<const char*> {};

TEST_P(BadLists, fail_closed_with_the_range) {
    const Narrowed lists("", GetParam());
    Daemon daemon({.devices = {3, 1}});
    testing::internal::CaptureStderr();
    EXPECT_EQ(aclInit(nullptr), ACL_ERROR_RT_INTERNAL_ERROR);
    const std::string heard = testing::internal::GetCapturedStderr();
    EXPECT_NE(heard.find("0 to 1, each once"), std::string::npos) << heard;
}

INSTANTIATE_TEST_SUITE_P(Of, BadLists, testing::Values("2", "0,0", "-1", "a", "0,", "0;1", "4294967296"));

}  // namespace
