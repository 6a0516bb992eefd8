// SPDX-License-Identifier: Apache-2.0
// The daemon dies and comes back while the program runs.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "daemon.h"
#include "nullacl.h"

namespace {

constexpr auto kPolicy = ACL_MEM_MALLOC_HUGE_FIRST;

uint32_t cube_cores() {
    uint32_t cores = 0;
    return aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores) == ACL_SUCCESS ? cores : 0;
}

void launch() { aclrtLaunchKernelWithHostArgs(nullptr, 1, nullptr, nullptr, nullptr, 0, nullptr, 0); }

class Returning : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
        ASSERT_TRUE(daemon.applied_within(1, 20));
    }
    // What the program says on stderr until the daemon has heard of it, or for `seconds`.
    std::string heard_within(double seconds) {
        testing::internal::CaptureStderr();
        eventually([] { return false; }, seconds);
        return testing::internal::GetCapturedStderr();
    }
    Daemon daemon{{.cube = 9, .memory_bytes = 1000}};
};

TEST_F(Returning, a_program_goes_back_by_itself_and_applies_what_the_new_daemon_grants) {
    daemon.die();
    EXPECT_EQ(cube_cores(), 9u);
    daemon.come_back({.cube = 7, .memory_bytes = 500});
    ASSERT_TRUE(eventually([&] { return daemon.returned() == 1; }));
    ASSERT_TRUE(daemon.applied_within(1, 20));
    EXPECT_EQ(cube_cores(), 7u);
    daemon.publish(2, 5, 10);
    EXPECT_TRUE(daemon.applied_within(2, 20)) << "it sleeps on the new page's bell";
    EXPECT_EQ(cube_cores(), 5u);
}

TEST_F(Returning, what_it_has_counted_and_allocated_is_kept) {
    void* block = nullptr;
    ASSERT_EQ(aclrtMalloc(&block, 400, kPolicy), ACL_SUCCESS);
    launch();
    daemon.die();
    launch();
    void* more = nullptr;
    ASSERT_EQ(aclrtMalloc(&more, 100, kPolicy), ACL_SUCCESS) << "limits hold, and work goes on";
    daemon.come_back({.memory_bytes = 600});
    ASSERT_TRUE(eventually([&] { return daemon.returned() == 1; }));
    EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_KERNEL], 2u);
    EXPECT_EQ(daemon.memory_used(), 500u);
    EXPECT_EQ(daemon.ledger().slots[0].charged, 500u);
    void* over = nullptr;
    EXPECT_TRUE(eventually([&] {
        if (aclrtMalloc(&over, 101, kPolicy) != ACL_SUCCESS) return true;
        aclrtFree(over);
        return false;
    })) << "the new limit";
    EXPECT_EQ(aclrtFree(block), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 100u);
}

TEST_F(Returning, nothing_counts_as_applied_until_the_new_grant_is) {
    daemon.die();
    const flexnpu_report_device& report = daemon.report();
    EXPECT_TRUE(eventually([&] { return __atomic_load_n(&report.applied_grant, __ATOMIC_ACQUIRE) == 0; }));
    EXPECT_EQ(report.seen_grant, 0u);
}

TEST_F(Returning, launches_go_on_all_the_while) {
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> done{0};
    std::thread busy([&] {
        while (!stop) {
            launch();
            if (cube_cores() == 0) return;
            ++done;
        }
    });
    for (int round = 0; round < 5; ++round) {
        daemon.die();
        const uint64_t before = done;
        EXPECT_TRUE(eventually([&] { return done > before + 1000; }));
        daemon.come_back({.cube = 3u + static_cast<uint32_t>(round)});
        ASSERT_TRUE(eventually([&] { return daemon.returned() == 1; }));
        ASSERT_TRUE(daemon.applied_within(1, 20));
    }
    stop = true;
    busy.join();
    EXPECT_EQ(cube_cores(), 7u);
    EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_KERNEL], done.load());
}

TEST_F(Returning, a_daemon_that_refuses_is_told_of_once_and_asked_again) {
    daemon.die();
    daemon.come_back({.status = FLEXNPU_UNKNOWN_VNPU, .message = "no vNPU 'test' here"});
    const std::string heard = heard_within(3);
    EXPECT_NE(heard.find("the daemon does not take this program back"), std::string::npos) << heard;
    EXPECT_NE(heard.find("no vNPU 'test' here"), std::string::npos) << heard;
    EXPECT_EQ(std::count(heard.begin(), heard.end(), '\n'), 1) << heard;
    EXPECT_LE(daemon.tenants(), 4u) << "every two seconds, not every look";
    EXPECT_EQ(cube_cores(), 9u) << "the last quota holds";
    daemon.die();
    daemon.come_back({.cube = 4});
    EXPECT_TRUE(eventually([&] { return cube_cores() == 4; }));
}

struct Mismatch {
    Terms terms;
    const char* says;
};

void PrintTo(const Mismatch& mismatch, std::ostream* out) { *out << mismatch.says; }

class Mismatched : public Returning, public testing::WithParamInterface<Mismatch> {};

TEST_P(Mismatched, a_daemon_that_gives_something_else_is_refused_and_the_old_page_stays) {
    void* block = nullptr;
    ASSERT_EQ(aclrtMalloc(&block, 400, kPolicy), ACL_SUCCESS);
    daemon.die();
    daemon.come_back(GetParam().terms);
    const std::string heard = heard_within(1);
    EXPECT_NE(heard.find(GetParam().says), std::string::npos) << heard;
    EXPECT_EQ(cube_cores(), 9u);
    void* over = nullptr;
    EXPECT_EQ(aclrtMalloc(&over, 601, kPolicy), ACL_ERROR_RT_MEMORY_ALLOCATION);
}

INSTANTIATE_TEST_SUITE_P(
    AfterARestart, Mismatched,
    testing::Values(Mismatch{{.page_version = FLEXNPU_PAGE_VERSION + 1, .cube = 4}, "the control page has magic"},
                    Mismatch{{.welcome_version = FLEXNPU_PAGE_VERSION + 1}, "the daemon speaks page version 6"},
                    Mismatch{{.devices = {1}, .cube = 4}, "the vNPU's device 0 is on device 1 now"},
                    Mismatch{{.devices = {0, 1}, .cube = 4}, "the vNPU has 2 devices now"},
                    Mismatch{{.cube = 4, .slot = 5}, "the daemon gives slot 5"},
                    Mismatch{{.cube = 4, .another_ledger = true}, "has not taken over this program's report page"},
                    Mismatch{{.nonsense = "hello"}, "what answered is not flexnpud"},
                    Mismatch{{.pages = false}, "the welcome carried no four pages"},
                    Mismatch{{.cube = 4, .empty_control = true}, "the control page is 0 bytes"}));

TEST_F(Returning, a_program_that_closes_all_descriptors_loses_its_daemon_and_nothing_else) {
    for (int fd = 3; fd < 64; ++fd) {
        if (fd != STDERR_FILENO) close(fd);
    }
    int own[2];
    ASSERT_EQ(pipe(own), 0);
    EXPECT_EQ(heard_within(1).find("terminate"), std::string::npos);
    EXPECT_EQ(write(own[1], "x", 1), 1) << "a descriptor of the program's own is not taken over";
    EXPECT_EQ(cube_cores(), 9u);
}

double cpu_ms() {
    timespec used{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return static_cast<double>(used.tv_sec) * 1e3 + static_cast<double>(used.tv_nsec) / 1e6;
}

TEST_F(Returning, an_idle_tenant_looks_a_few_times_a_second_and_no_more) {
    rusage before{};
    rusage after{};
    getrusage(RUSAGE_SELF, &before);
    const double used = cpu_ms();
    std::this_thread::sleep_for(std::chrono::seconds(4));
    const double share = (cpu_ms() - used) / 4000;
    getrusage(RUSAGE_SELF, &after);
    RecordProperty("share_of_a_core", std::to_string(share));
    std::printf("an idle tenant takes %.4f %% of a core\n", share * 100);
    EXPECT_LT(after.ru_nvcsw - before.ru_nvcsw, 60);
}

}  // namespace
