// SPDX-License-Identifier: Apache-2.0
// The arbiter with its thread; tenants are played by writing their report pages.
#include "arbiter/arbiter.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "waiting.h"

namespace flexnpu {
namespace {

using namespace std::chrono_literals;

class FakeTenant {
  public:
    explicit FakeTenant(uint32_t pid) : page(std::make_shared<ReportPage>(pid)) {
        own_ = static_cast<flexnpu_report_page*>(
            mmap(nullptr, FLEXNPU_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, page->fd(), 0));
    }
    ~FakeTenant() { munmap(own_, FLEXNPU_PAGE_SIZE); }
    FakeTenant(const FakeTenant&) = delete;
    FakeTenant& operator=(const FakeTenant&) = delete;
    void apply(uint64_t revision) {
        std::atomic_ref(own_->devices[0].applied_grant).store(revision, std::memory_order_release);
        std::atomic_ref(own_->devices[0].bell).fetch_add(1);
        futex_wake_shared(page->bell(0));
    }
    void begin_step() {
        std::atomic_ref(own_->begun.sequence).fetch_add(2, std::memory_order_release);
        std::atomic_ref(own_->devices[0].bell).fetch_add(1);
        futex_wake_shared(page->bell(0));
    }
    std::shared_ptr<ReportPage> page;

  private:
    flexnpu_report_page* own_;
};

Quota quota(uint32_t revision, uint32_t cores) {
    return {.revision = revision, .cores = cores, .burst_cores = cores, .memory_bytes = 1 << 20};
}

class ArbiterTest : public testing::Test {
  protected:
    Arbiter arbiter_{24, 48};

    std::shared_ptr<ControlPage> add(VNpuId id, uint32_t cores) {
        auto page = std::make_shared<ControlPage>("v" + std::to_string(id), std::vector<uint32_t>{0});
        arbiter_.add(id, page, 0, quota(1, cores));
        return page;
    }
    void want(std::initializer_list<Change> changes) { arbiter_.change({changes.begin(), changes.size()}); }
    uint32_t granted(VNpuId id) { return arbiter_.state(id).granted_cores; }
};

// Its thread may be anywhere then; a wake-up that it sleeps over would hang the test.
TEST(ArbiterEnds, whenever_it_is_told_to) {
    for (int64_t round = 0; round < 20'000; ++round) {
        Arbiter arbiter{24, 48};
        const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(round * 977 % 60'000);
        while (std::chrono::steady_clock::now() < until) {
        }
    }
}

TEST_F(ArbiterTest, a_new_vnpu_on_a_free_device_is_granted_at_once) {
    add(1, 12);
    EXPECT_EQ(granted(1), 12u);
    EXPECT_EQ(arbiter_.state(1).applied_revision, 1u);
}

TEST_F(ArbiterTest, a_move_shrinks_waits_for_the_tenant_and_then_grows) {
    add(1, 12);
    add(2, 12);
    FakeTenant one(101), two(102);
    arbiter_.attach(1, one.page, 1, true);
    arbiter_.attach(2, two.page, 1, true);
    want({{1, quota(2, 6)}, {2, quota(2, 18)}});
    EXPECT_EQ(granted(1), 6u);
    EXPECT_EQ(granted(2), 12u);
    std::this_thread::sleep_for(5ms);
    EXPECT_EQ(granted(2), 12u);
    EXPECT_EQ(arbiter_.held_cores(), 24u);
    one.apply(2);
    EXPECT_TRUE(comes_true([&] { return granted(2) == 18; }));
    EXPECT_EQ(arbiter_.state(2).applied_revision, 1u);
    two.apply(2);
    EXPECT_TRUE(comes_true([&] { return arbiter_.state(2).applied_revision == 2; }));
}

TEST_F(ArbiterTest, news_are_of_those_that_something_happened_to) {
    using Ids = std::vector<VNpuId>;
    add(1, 6);
    add(2, 6);
    FakeTenant one(101);
    const TenantId tenant = arbiter_.attach(1, one.page, 1, true);
    EXPECT_EQ(arbiter_.take_news(), (Ids{1, 2}));
    EXPECT_EQ(arbiter_.take_news(), Ids{});
    want({{2, quota(2, 8)}});
    EXPECT_EQ(arbiter_.take_news(), Ids{2});
    want({{1, quota(2, 4)}});
    EXPECT_EQ(arbiter_.take_news(), Ids{1}) << "granted";
    one.apply(2);
    EXPECT_TRUE(comes_true([&] { return arbiter_.take_news() == Ids{1}; })) << "applied";
    want({{1, quota(3, 5)}});
    arbiter_.remove(1);
    arbiter_.detach(1, tenant);
    EXPECT_EQ(arbiter_.take_news(), Ids{}) << "it is gone";
}

TEST_F(ArbiterTest, tells_of_the_steps_of_whom_somebody_follows_and_of_no_others) {
    auto followed = add(1, 12);
    add(2, 12);
    FakeTenant one(101), two(102);
    arbiter_.attach(1, one.page, 1, true);
    arbiter_.attach(2, two.page, 1, true);
    arbiter_.watch(1, true);
    uint64_t told = 0;
    eventfd_read(arbiter_.event_fd(), &told);
    two.begin_step();
    std::this_thread::sleep_for(5ms);
    EXPECT_NE(eventfd_read(arbiter_.event_fd(), &told), 0);
    one.begin_step();
    EXPECT_TRUE(comes_true([&] { return eventfd_read(arbiter_.event_fd(), &told) == 0; }));
    EXPECT_EQ(one.page->begun_tellings(), 2u);
    arbiter_.watch(1, false);
    one.begin_step();
    std::this_thread::sleep_for(5ms);
    EXPECT_NE(eventfd_read(arbiter_.event_fd(), &told), 0);
}

TEST_F(ArbiterTest, the_death_of_a_tenant_gives_back_what_it_held) {
    add(1, 24);
    FakeTenant tenant(101);
    const TenantId id = arbiter_.attach(1, tenant.page, 1, true);
    want({{1, quota(2, 1)}});
    add(2, 23);
    EXPECT_EQ(granted(2), 0u);
    arbiter_.detach(1, id);
    EXPECT_EQ(granted(2), 23u);
}

TEST_F(ArbiterTest, a_removed_vnpu_holds_its_cores_until_its_tenant_is_gone) {
    add(1, 24);
    FakeTenant tenant(101);
    const TenantId id = arbiter_.attach(1, tenant.page, 1, true);
    arbiter_.remove(1);
    add(2, 24);
    EXPECT_EQ(granted(2), 0u);
    arbiter_.detach(1, id);
    EXPECT_EQ(granted(2), 24u);
    EXPECT_THROW(arbiter_.state(1), std::out_of_range);
}

TEST_F(ArbiterTest, a_tenant_cannot_claim_to_have_applied_what_was_not_granted) {
    add(1, 12);
    add(2, 12);
    FakeTenant liar(101), honest(102);
    liar.apply(~uint64_t{0});
    arbiter_.attach(1, liar.page, 1, true);
    arbiter_.attach(2, honest.page, 1, true);
    want({{1, quota(2, 18)}, {2, quota(2, 6)}});
    EXPECT_EQ(granted(1), 12u);
    EXPECT_EQ(arbiter_.state(1).applied_revision, 1u);
}

TEST_F(ArbiterTest, tenants_of_an_earlier_daemon_keep_what_they_had_until_they_come_back) {
    const auto page = std::make_shared<ControlPage>("old", std::vector<uint32_t>{0});
    const std::vector<TenantId> absent = arbiter_.restore(1, page, 0, quota(5, 6), {{4, 18, false}}, 1);
    EXPECT_EQ(granted(1), 6u);
    add(2, 18);
    EXPECT_EQ(granted(2), 0u);
    FakeTenant back(101);
    arbiter_.attach(1, back.page, 1, false);
    arbiter_.detach(1, absent.at(0));
    EXPECT_EQ(granted(2), 0u);
    back.apply(arbiter_.state(1).grant_number);
    EXPECT_TRUE(comes_true([&] { return granted(2) == 18; }));
}

TEST_F(ArbiterTest, it_uses_no_time_when_nothing_is_pending) {
    add(1, 12);
    FakeTenant tenant(101);
    arbiter_.attach(1, tenant.page, 1, true);
    std::this_thread::sleep_for(20ms);
    EXPECT_LT(naps(300ms), 5);
}

TEST_F(ArbiterTest, two_threads_of_changes_end_in_what_was_wanted_last) {
    add(1, 8);
    add(2, 8);
    std::atomic<bool> stop = false;
    FakeTenant one(101), two(102);
    arbiter_.attach(1, one.page, 1, true);
    arbiter_.attach(2, two.page, 1, true);
    std::thread acknowledge([&] {
        while (!stop) {
            one.apply(arbiter_.state(1).grant_number);
            two.apply(arbiter_.state(2).grant_number);
        }
    });
    for (uint32_t revision = 2; revision < 300; ++revision) {
        const uint32_t left = 1 + revision % 23;
        want({{1, quota(revision, left)}, {2, quota(revision, 24 - left)}});
        ASSERT_LE(arbiter_.held_cores(), 24u);
    }
    EXPECT_TRUE(comes_true([&] { return arbiter_.state(2).applied_revision == 299; }));
    EXPECT_TRUE(comes_true([&] { return arbiter_.state(1).applied_revision == 299; }));
    stop = true;
    acknowledge.join();
    EXPECT_EQ(granted(1) + granted(2), 24u);
}

}  // namespace
}  // namespace flexnpu
