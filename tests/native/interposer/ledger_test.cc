// SPDX-License-Identifier: Apache-2.0
// The ledger's protocol (flexnpu/ledger.h), as machine code: raced for by processes, killed after every instruction,
// killed at random. Slots 0, 1, ... belong to the processes of a test; the test itself is the daemon.
#include <flexnpu/ledger.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <random>
#include <thread>
#include <vector>

namespace {

// What the processes of a test share.
struct Shared {
    flexnpu_ledger_device ledger;
    uint32_t go[2];
    uint32_t won[2];
    uint32_t finished;
};

class LedgerProtocol : public testing::Test {
  protected:
    void SetUp() override {
        void* page = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(page, MAP_FAILED);
        shared = static_cast<Shared*>(page);
        ledger = &shared->ledger;
    }
    void TearDown() override { munmap(shared, sizeof *shared); }

    uint64_t used() const { return flexnpu_ledger_used(ledger); }
    uint64_t charged() const {
        uint64_t sum = 0;
        for (const flexnpu_ledger_slot& slot : ledger->slots) sum += __atomic_load_n(&slot.charged, __ATOMIC_SEQ_CST);
        return sum;
    }
    uint64_t in_flight() const {
        uint64_t sum = 0;
        for (const flexnpu_ledger_slot& slot : ledger->slots) sum += __atomic_load_n(&slot.in_flight, __ATOMIC_SEQ_CST);
        return sum;
    }

    Shared* shared = nullptr;
    flexnpu_ledger_device* ledger = nullptr;
};

pid_t start(const std::function<void()>& work) {
    const pid_t child = fork();
    if (child == 0) {
        work();
        _exit(0);
    }
    return child;
}

void end(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
}

TEST_F(LedgerProtocol, of_two_processes_that_race_for_the_last_byte_one_wins) {
    constexpr uint32_t kRounds = 3000;
    const auto race = [this](uint32_t me, uint32_t round) {
        __atomic_store_n(&shared->go[me], round, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&shared->go[1 - me], __ATOMIC_SEQ_CST) < round) sched_yield();
        const bool won = flexnpu_ledger_charge(ledger, me, 1, 1000) != 0;
        __atomic_store_n(&shared->won[me], round * 2 + (won ? 1 : 0), __ATOMIC_SEQ_CST);
        uint32_t other = 0;
        while ((other = __atomic_load_n(&shared->won[1 - me], __ATOMIC_SEQ_CST)) / 2 < round) sched_yield();
        return std::pair(won, (other & 1) != 0);
    };
    ASSERT_TRUE(flexnpu_ledger_charge(ledger, 5, 999, 1000));
    const auto run = [&](uint32_t me) {
        for (uint32_t round = 1; round <= kRounds; ++round) {
            const auto [won, other_won] = race(me, round);
            if (won == other_won) return false;
            if (won) flexnpu_ledger_refund(ledger, me, 1);
            // The refund is over before the next race.
            while (flexnpu_ledger_used(ledger) != 999) sched_yield();
            __atomic_fetch_add(&shared->finished, 1, __ATOMIC_SEQ_CST);
            while (__atomic_load_n(&shared->finished, __ATOMIC_SEQ_CST) < 2 * round) sched_yield();
        }
        return true;
    };
    const pid_t other = fork();
    if (other == 0) _exit(run(1) ? 0 : 1);
    EXPECT_TRUE(run(0));
    int status = -1;
    waitpid(other, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(used(), 999u);
}

// --- killed after every single instruction ---

#if defined(__x86_64__)

struct Step {
    bool traced = false;    // this machine lets a process trace its child
    bool finished = false;  // the work was over before the step
};

// Runs `work` in a child that is killed after `steps` instructions, counted from its own SIGSTOP.
Step kill_after(uint32_t steps, Shared* shared, const std::function<void()>& work,
                const std::function<void()>& between) {
    shared->finished = 0;
    const pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(1);
        raise(SIGSTOP);
        work();
        __atomic_store_n(&shared->finished, 1, __ATOMIC_SEQ_CST);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    Step step{WIFSTOPPED(status), false};
    for (uint32_t i = 0; step.traced && i < steps && !step.finished; ++i) {
        if (ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0) break;
        waitpid(child, &status, 0);
        step.finished = __atomic_load_n(&shared->finished, __ATOMIC_SEQ_CST) != 0;
    }
    if (step.traced) between();
    end(child);
    return step;
}

// Every prefix of `work` of slot 0, beside what slot 1 holds; afterwards nothing but that is used.
class KilledAfterEveryInstruction : public LedgerProtocol {
  protected:
    static constexpr uint64_t kLimit = 1000;

    void check_all(const std::function<void()>& work, uint64_t survivors) {
        uint64_t unsettled = 0;
        for (uint32_t steps = 0;; ++steps) {
            const Step step = kill_after(steps, shared, work, [&] { check_in_between(); });
            if (!step.traced) GTEST_SKIP() << "this machine lets no process trace its child";
            unsettled += flexnpu_ledger_release(ledger, 0) == 0 ? 1 : 0;
            ASSERT_EQ(flexnpu_ledger_settle(ledger), 1) << "after instruction " << steps;
            ASSERT_EQ(used(), survivors) << "after instruction " << steps;
            ASSERT_EQ(charged(), survivors) << "after instruction " << steps;
            if (step.finished) break;
            ASSERT_LT(steps, 20'000u);
        }
        EXPECT_GT(unsettled, 0u) << "some prefix ended within a call";
    }

    void check_in_between() {
        ASSERT_LE(used(), kLimit);
        ASSERT_LE(charged(), used());
        ASSERT_LE(used(), charged() + in_flight());
        if (in_flight() == 0) {
            ASSERT_EQ(used(), charged());
        }
    }
};

TEST_F(KilledAfterEveryInstruction, a_charge_leaves_no_byte) {
    ASSERT_TRUE(flexnpu_ledger_charge(ledger, 1, 100, kLimit));
    check_all([this] { flexnpu_ledger_charge(ledger, 0, 40, kLimit); }, 100);
}

TEST_F(KilledAfterEveryInstruction, a_charge_and_its_refund_leave_no_byte) {
    ASSERT_TRUE(flexnpu_ledger_charge(ledger, 1, 100, kLimit));
    check_all(
        [this] {
            flexnpu_ledger_charge(ledger, 0, 40, kLimit);
            flexnpu_ledger_charge(ledger, 0, 7, kLimit);
            flexnpu_ledger_refund(ledger, 0, 40);
        },
        100);
}

TEST_F(KilledAfterEveryInstruction, a_denied_charge_leaves_no_byte) {
    ASSERT_TRUE(flexnpu_ledger_charge(ledger, 1, 990, kLimit));
    check_all([this] { flexnpu_ledger_charge(ledger, 0, 11, kLimit); }, 990);
}

#endif

// --- killed at random, while others go on ---

// Charges and refunds for ever; what it holds is in its slot.
[[noreturn]] void work(flexnpu_ledger_device* ledger, uint32_t slot, uint64_t limit) {
    uint64_t held[8] = {};
    std::minstd_rand random(slot + 1 + static_cast<uint32_t>(getpid()));
    for (;;) {
        uint64_t& one = held[random() % 8];
        if (one != 0) {
            flexnpu_ledger_refund(ledger, slot, one);
            one = 0;
        } else {
            const uint64_t bytes = 1 + random() % 400;
            one = flexnpu_ledger_charge(ledger, slot, bytes, limit) != 0 ? bytes : 0;
        }
    }
}

TEST_F(LedgerProtocol, processes_that_are_killed_at_random_leave_no_byte) {
    constexpr uint32_t kRounds = 600;
    constexpr uint32_t kWorkers = 3;
    constexpr uint64_t kLimit = 4000;
    std::mt19937 random(7);
    pid_t workers[kWorkers];
    for (uint32_t slot = 0; slot < kWorkers; ++slot) workers[slot] = start([&] { work(ledger, slot, kLimit); });
    uint32_t within_a_call = 0;
    for (uint32_t round = 0; round < kRounds; ++round) {
        const uint32_t victim = random() % kWorkers;
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
        end(workers[victim]);
        ASSERT_LE(used(), kLimit);
        within_a_call += flexnpu_ledger_release(ledger, victim) == 0 ? 1 : 0;
        workers[victim] = start([&] { work(ledger, victim, kLimit); });
        // Now and then all are dead, and the sum can be read off.
        if (round % 20 != 19) continue;
        for (uint32_t slot = 0; slot < kWorkers; ++slot) {
            end(workers[slot]);
            flexnpu_ledger_release(ledger, slot);
        }
        ASSERT_EQ(flexnpu_ledger_settle(ledger), 1);
        ASSERT_EQ(used(), 0u);
        ASSERT_EQ(charged(), 0u);
        for (uint32_t slot = 0; slot < kWorkers; ++slot) workers[slot] = start([&] { work(ledger, slot, kLimit); });
    }
    for (const pid_t worker : workers) end(worker);
    EXPECT_GT(within_a_call, 0u) << "some were killed within a call";
}

TEST_F(LedgerProtocol, what_a_killed_process_left_is_settled_while_others_go_on) {
    constexpr uint64_t kLimit = 4000;
    const pid_t survivor = start([&] { work(ledger, 1, kLimit); });
    std::mt19937 random(11);
    for (uint32_t round = 0; round < 100; ++round) {
        const pid_t victim = start([&] { work(ledger, 0, kLimit); });
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 1500));
        end(victim);
        flexnpu_ledger_release(ledger, 0);
        const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (flexnpu_ledger_settle(ledger) == 0) ASSERT_LT(std::chrono::steady_clock::now(), patience);
        kill(survivor, SIGSTOP);
        waitpid(survivor, nullptr, WUNTRACED);
        ASSERT_LE(charged(), used());
        ASSERT_LE(used(), charged() + in_flight());
        if (in_flight() == 0) {
            ASSERT_EQ(used(), charged());
        }
        kill(survivor, SIGCONT);
    }
    end(survivor);
}

TEST_F(LedgerProtocol, settling_waits_for_a_process_that_is_within_a_call) {
    ASSERT_TRUE(flexnpu_ledger_charge(ledger, 1, 100, 1000));
    ledger->slots[2].in_flight = 5;
    ledger->used += 3;
    EXPECT_EQ(flexnpu_ledger_settle(ledger), 0);
    EXPECT_EQ(used(), 103u) << "nothing has changed";
    ledger->slots[2].in_flight = 0;
    EXPECT_EQ(flexnpu_ledger_settle(ledger), 1);
    EXPECT_EQ(used(), 100u);
}

TEST_F(LedgerProtocol, numbers_that_no_tenant_would_write_do_not_make_it_wrap) {
    ASSERT_TRUE(flexnpu_ledger_charge(ledger, 1, 100, 1000));
    ledger->slots[2].charged = UINT64_MAX;
    flexnpu_ledger_release(ledger, 2);
    EXPECT_LE(used(), 100u);
    EXPECT_FALSE(flexnpu_ledger_charge(ledger, 1, UINT64_MAX, UINT64_MAX));
    EXPECT_FALSE(flexnpu_ledger_charge(ledger, 1, FLEXNPU_LEDGER_BYTES + 1, UINT64_MAX));
    EXPECT_EQ(flexnpu_ledger_settle(ledger), 1);
    EXPECT_EQ(used(), 100u);
}

}  // namespace
