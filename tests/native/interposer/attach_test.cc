// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "daemon.h"
#include "nullacl.h"

namespace {

uint32_t cube_cores() {
    uint32_t cores = 0;
    return aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores) == ACL_SUCCESS ? cores : 0;
}

void expect_closed(const std::string& says) {
    testing::internal::CaptureStderr();
    void* block = nullptr;
    EXPECT_EQ(aclInit(nullptr), ACL_ERROR_RT_INTERNAL_ERROR);
    EXPECT_EQ(aclrtMalloc(&block, 1, ACL_MEM_MALLOC_HUGE_FIRST), ACL_ERROR_RT_INTERNAL_ERROR);
    EXPECT_EQ(block, nullptr);
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    EXPECT_EQ(aclnnAddGetWorkspaceSize(nullptr, nullptr, nullptr, nullptr, &size, &executor),
              ACL_ERROR_RT_INTERNAL_ERROR);
    const std::string heard = testing::internal::GetCapturedStderr();
    EXPECT_NE(heard.find(says), std::string::npos) << heard;
    EXPECT_EQ(std::count(heard.begin(), heard.end(), '\n'), 1) << "one line, however often it tries:\n" << heard;
}

TEST(Attach, a_program_sees_its_quota_and_one_device) {
    Daemon daemon({.devices = {2}, .cube = 7, .vector = 14, .memory_bytes = 4096});
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    uint32_t count = 0;
    ASSERT_EQ(aclrtGetDeviceCount(&count), ACL_SUCCESS);
    EXPECT_EQ(count, 1u);
    EXPECT_EQ(cube_cores(), 7u);
    int64_t value = 0;
    aclrtGetDeviceInfo(0, ACL_DEV_ATTR_VECTOR_CORE_NUM, &value);
    EXPECT_EQ(value, 14);
    aclrtGetDeviceInfo(0, ACL_DEV_ATTR_WARP_SIZE, &value);
    EXPECT_EQ(value, 32);
    aclGetDeviceCapability(0, ACL_DEVICE_INFO_AI_CORE_NUM, &value);
    EXPECT_EQ(value, 7);
    size_t free = 0;
    size_t total = 0;
    aclrtGetMemInfo(ACL_HBM_MEM, &free, &total);
    EXPECT_EQ(free, 4096u);
    EXPECT_EQ(total, 4096u);
}

TEST(Attach, device_zero_is_the_vnpus_device_and_there_is_no_other) {
    Daemon daemon({.devices = {2}});
    EXPECT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    EXPECT_EQ(null_record()->device, 2);
    int32_t device = -1;
    EXPECT_EQ(aclrtGetDevice(&device), ACL_SUCCESS);
    EXPECT_EQ(device, 0);
    EXPECT_EQ(aclrtSetDevice(1), ACL_ERROR_RT_INVALID_DEVICEID);
    EXPECT_EQ(null_record()->device, 2);
}

TEST(Attach, a_programs_own_lower_limit_is_kept) {
    Daemon daemon({.cube = 12});
    ASSERT_EQ(aclrtSetDeviceResLimit(0, ACL_RT_DEV_RES_CUBE_CORE, 5), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 5u);
    ASSERT_EQ(aclrtSetDeviceResLimit(0, ACL_RT_DEV_RES_CUBE_CORE, 20), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 12u);
}

TEST(Attach, without_a_daemon_it_fails_closed) {
    setenv("FLEXNPU_SOCKET", "/tmp/flexnpu-nobody-listens.sock", 1);
    setenv("FLEXNPU_VNPU", "test", 1);
    expect_closed("no daemon answers at /tmp/flexnpu-nobody-listens.sock");
}

TEST(Attach, without_a_vnpu_it_fails_closed) {
    unsetenv("FLEXNPU_VNPU");
    expect_closed("FLEXNPU_VNPU");
}

TEST(Attach, a_daemon_of_another_page_version_fails_closed) {
    Daemon daemon({.welcome_version = FLEXNPU_PAGE_VERSION + 1, .status = FLEXNPU_BAD_VERSION});
    expect_closed("the daemon speaks page version 6, libflexnpu.so 5");
}

TEST(Attach, a_page_of_another_version_fails_closed) {
    Daemon daemon({.page_version = FLEXNPU_PAGE_VERSION + 1});
    expect_closed("the control page has magic");
}

TEST(Attach, a_socket_path_that_is_too_long_fails_closed) {
    setenv("FLEXNPU_SOCKET", ("/tmp/" + std::string(200, 'x')).c_str(), 1);
    setenv("FLEXNPU_VNPU", "test", 1);
    expect_closed("FLEXNPU_SOCKET is 205 bytes long, at most 107 fit");
}

TEST(Attach, a_vnpu_name_that_is_too_long_fails_closed) {
    Daemon daemon;
    setenv("FLEXNPU_VNPU", std::string(64, 'x').c_str(), 1);
    expect_closed("FLEXNPU_VNPU is 64 bytes long, at most 63");
}

TEST(Attach, an_answer_that_is_no_welcome_fails_closed) {
    Daemon daemon({.nonsense = "HTTP/1.1 400 Bad Request"});
    expect_closed("what answered is not flexnpud: 24 bytes");
}

TEST(Attach, a_welcome_without_pages_fails_closed) {
    Daemon daemon({.pages = false});
    expect_closed("the welcome carried no four pages");
}

TEST(Attach, a_slot_that_the_ledger_does_not_have_fails_closed) {
    Daemon daemon({.slot = FLEXNPU_PROCESSES});
    expect_closed("slot 64");
}

TEST(Attach, a_vnpu_without_devices_fails_closed) {
    Daemon daemon({.device_count = 0});
    expect_closed("the welcome gives 0 devices");
}

TEST(Attach, a_vnpu_of_more_devices_than_a_page_has_fails_closed) {
    Daemon daemon({.device_count = FLEXNPU_DEVICES + 1});
    expect_closed("the welcome gives 17 devices");
}

TEST(Attach, a_page_that_is_too_short_fails_closed) {
    Daemon daemon({.empty_control = true});
    expect_closed("the control page is 0 bytes, 4096 are needed");
}

TEST(Attach, a_refusal_says_why) {
    Daemon daemon({.status = FLEXNPU_UNKNOWN_VNPU, .message = "no vNPU 'test' here"});
    expect_closed("no vNPU 'test' here");
}

TEST(Attach, a_daemon_that_comes_later_is_found) {
    setenv("FLEXNPU_SOCKET", "/tmp/flexnpu-nobody-listens.sock", 1);
    setenv("FLEXNPU_VNPU", "test", 1);
    EXPECT_EQ(aclInit(nullptr), ACL_ERROR_RT_INTERNAL_ERROR);
    Daemon daemon;
    EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
}

// Ends with the test: the process goes on to others.
class Patience {
  public:
    explicit Patience(const char* seconds) { setenv("FLEXNPU_DAEMON_WAIT", seconds, 1); }
    ~Patience() { unsetenv("FLEXNPU_DAEMON_WAIT"); }
};

TEST(Attach, a_daemon_that_is_meant_to_be_there_is_waited_for) {
    const Patience patience("60");
    Daemon daemon;
    daemon.die();
    std::thread starts([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        daemon.come_back({.cube = 3});
    });
    EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 3u);
    starts.join();
}

TEST(Attach, a_daemon_that_dies_while_it_is_asked_is_waited_for) {
    const Patience patience("60");
    Daemon daemon;
    daemon.die();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, getenv("FLEXNPU_SOCKET"), sizeof address.sun_path - 1);
    unlink(address.sun_path);
    const int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(listener, 1), 0);
    std::thread dies([&] {
        const int asked = accept(listener, nullptr, nullptr);
        unlink(address.sun_path);
        close(listener);
        close(asked);
        daemon.come_back({.cube = 3});
    });
    EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
    EXPECT_EQ(cube_cores(), 3u);
    dies.join();
}

TEST(Attach, a_daemon_that_does_not_come_is_waited_for_once_and_then_it_fails_closed) {
    const Patience patience("1");
    setenv("FLEXNPU_SOCKET", "/tmp/flexnpu-nobody-listens.sock", 1);
    setenv("FLEXNPU_VNPU", "test", 1);
    expect_closed("is flexnpud running? It was waited for, for 1 s");
}

TEST(Attach, a_wait_that_is_no_number_of_seconds_fails_closed) {
    Daemon daemon;
    for (const char* bad : {"soon", "-1", "61", "5s"}) {
        const Patience patience(bad);
        expect_closed("FLEXNPU_DAEMON_WAIT is '" + std::string(bad) + "', 0 to 60 seconds are possible");
    }
}

TEST(Attach, the_last_quota_outlives_the_daemon) {
    {
        Daemon daemon({.cube = 9});
        ASSERT_EQ(cube_cores(), 9u);
    }
    EXPECT_EQ(cube_cores(), 9u);
    void* block = nullptr;
    EXPECT_EQ(aclrtMalloc(&block, 2 << 20, ACL_MEM_MALLOC_HUGE_FIRST), ACL_ERROR_RT_MEMORY_ALLOCATION);
}

int in_child(const std::function<bool()>& holds) {
    const pid_t child = fork();
    if (child == 0) _exit(holds() ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

TEST(Attach, a_forks_child_is_a_tenant_of_its_own) {
    Daemon daemon({.memory_bytes = 1000});
    void* block = nullptr;
    ASSERT_EQ(aclrtMalloc(&block, 600, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
    ASSERT_EQ(in_child([] {
                  void* own = nullptr;
                  return aclrtMalloc(&own, 500, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_ERROR_RT_MEMORY_ALLOCATION &&
                         aclrtMalloc(&own, 400, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_SUCCESS;
              }),
              0)
        << "it shares the limit of its vNPU";
    EXPECT_EQ(daemon.tenants(), 2u);
    EXPECT_EQ(daemon.ledger().slots[0].charged, 600u);
    EXPECT_EQ(daemon.ledger().slots[1].charged, 400u);
    EXPECT_EQ(daemon.memory_used(), 1000u);
}

TEST(Attach, a_forks_child_without_a_daemon_fails_closed) {
    auto daemon = std::make_unique<Daemon>();
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    daemon.reset();
    EXPECT_EQ(in_child([] {
                  void* own = nullptr;
                  return aclrtMalloc(&own, 1, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_ERROR_RT_INTERNAL_ERROR;
              }),
              0);
}

}  // namespace
