/* SPDX-License-Identifier: Apache-2.0 */
// A tenant that plays the gate's protocol on a report page: one thread that launches operators of a given length, one
// after the other, and gives up its turn as the protocol says.
#pragma once

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>
#include <thread>

#include "arbiter/futex.h"
#include "arbiter/pages.h"
#include "flexnpu/hail.h"

namespace flexnpu {

class GatePlayer {
  public:
    GatePlayer(const ControlPage& control, std::shared_ptr<ReportPage> report, uint32_t ordinal = 0,
               const HailPage* hails = nullptr)
        : page(std::move(report)), ordinal_(ordinal) {
        if (hails != nullptr) {
            hails_ = static_cast<flexnpu_hail_page*>(
                mmap(nullptr, FLEXNPU_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, hails->fd(), 0));
        }
        control_ = static_cast<flexnpu_control_page*>(
            mmap(nullptr, FLEXNPU_PAGE_SIZE, PROT_READ, MAP_SHARED, control.fd(), 0));
        own_ = static_cast<flexnpu_report_page*>(
            mmap(nullptr, FLEXNPU_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, page->fd(), 0));
    }
    ~GatePlayer() {
        stop();
        munmap(control_, FLEXNPU_PAGE_SIZE);
        munmap(own_, FLEXNPU_PAGE_SIZE);
        if (hails_ != nullptr) munmap(hails_, FLEXNPU_PAGE_SIZE);
    }
    GatePlayer(const GatePlayer&) = delete;
    GatePlayer& operator=(const GatePlayer&) = delete;

    void start(std::chrono::microseconds operator_length) {
        thread_ = std::thread([this, operator_length] { play(operator_length); });
    }
    void stop() {
        stopping_ = true;
        if (thread_.joinable()) thread_.join();
    }
    int64_t busy_ns() const { return busy_ns_; }
    bool inside() const { return inside_; }
    uint64_t longest_wait_ns() const { return longest_wait_ns_; }

    // The pieces, for tests that play by hand.
    uint64_t turn() const { return std::atomic_ref(control_->devices[ordinal_].turn).load(); }
    bool enter() {
        const uint64_t turn = this->turn();
        if ((turn & kLetsIn) == 0 || flexnpu_turn_number(turn) == drained_) return false;
        std::atomic_ref(report().turn_entered).store(flexnpu_turn_number(turn));
        if (flexnpu_turn_number(this->turn()) != flexnpu_turn_number(turn)) return false;
        if ((this->turn() & kLetsIn) == 0) return false;
        entered_ = flexnpu_turn_number(turn);
        return true;
    }
    bool is_on_standby() const { return (turn() & FLEXNPU_TURN_STANDBY) != 0; }
    bool is_open() const { return (turn() & FLEXNPU_TURN_OPEN) != 0; }
    void hail() const { hail_with(std::atomic_ref(control_->devices[ordinal_].hail).load()); }
    void hail_with(uint64_t word) const { std::atomic_ref(hails_->devices[0].hail).store(word); }
    uint64_t hailed() const { return std::atomic_ref(hails_->devices[0].hail).load(); }
    // Whether it would stop for what is hailed.
    bool yields() const {
        return std::atomic_ref(control_->devices[ordinal_].yields_to).load() == flexnpu_hail_print(hailed());
    }
    void drain() {
        drained_ = std::atomic_ref(report().turn_entered).load();
        entered_ = 0;
        std::atomic_ref(report().turn_drained).store(drained_);
        ring();
    }
    void wait(uint32_t threads) { std::atomic_ref(report().waiting).store(threads); }
    void ring() {
        std::atomic_ref(report().bell).fetch_add(1);
        futex_wake_shared(&report().bell);
    }
    void launch() { std::atomic_ref(report().launches[FLEXNPU_LAUNCH_KERNEL]).fetch_add(1); }
    uint64_t launches() const { return std::atomic_ref(report().launches[FLEXNPU_LAUNCH_KERNEL]).load(); }
    void waited(std::chrono::nanoseconds time) {
        std::atomic_ref(report().waited_ns).fetch_add(static_cast<uint64_t>(time.count()));
    }
    uint64_t in_flight_ns() const { return std::atomic_ref(control_->devices[0].in_flight_ns).load(); }
    void busy(uint64_t ns) { std::atomic_ref(report().busy_ns).fetch_add(ns); }
    flexnpu_report_device& report() const { return own_->devices[ordinal_]; }

    std::shared_ptr<ReportPage> page;

  private:
    static constexpr uint64_t kLetsIn = FLEXNPU_TURN_OPEN | FLEXNPU_TURN_STANDBY;
    const uint32_t ordinal_;
    static int64_t now() {
        timespec at{};
        clock_gettime(CLOCK_MONOTONIC, &at);
        return at.tv_sec * 1'000'000'000 + at.tv_nsec;
    }

    bool open() const { return (turn() & FLEXNPU_TURN_OPEN) != 0 && flexnpu_turn_number(turn()) == entered_; }

    void play(std::chrono::microseconds length) {
        while (!stopping_) {
            if (!open()) {
                if (std::atomic_ref(report().turn_entered).load() != drained_) drain();
                await();
                continue;
            }
            inside_ = true;
            const int64_t from = now();
            launch();
            std::this_thread::sleep_for(length);  // the device works
            const int64_t took = now() - from;
            inside_ = false;
            busy_ns_ += took;
            busy(static_cast<uint64_t>(took));
        }
        if (std::atomic_ref(report().turn_entered).load() != drained_) drain();
    }

    void await() {
        const int64_t from = now();
        wait(1);
        ring();
        while (!stopping_ && !enter()) {
            const uint64_t turn = this->turn();
            if ((turn & FLEXNPU_TURN_OPEN) != 0 && flexnpu_turn_number(turn) != drained_) continue;
            const timespec cut{0, 20'000'000};
            syscall(SYS_futex, &control_->devices[ordinal_].turn, FUTEX_WAIT, static_cast<uint32_t>(turn), &cut,
                    nullptr, 0);
            if (std::atomic_ref(report().turn_entered).load() != drained_ && entered_ == 0) drain();
        }
        wait(0);
        longest_wait_ns_ = std::max<uint64_t>(longest_wait_ns_, static_cast<uint64_t>(now() - from));
    }

    flexnpu_control_page* control_;
    flexnpu_report_page* own_;
    flexnpu_hail_page* hails_ = nullptr;
    uint64_t entered_ = 0, drained_ = 0;
    std::atomic<bool> stopping_ = false, inside_ = false;
    std::atomic<int64_t> busy_ns_ = 0;
    std::atomic<uint64_t> longest_wait_ns_ = 0;
    std::thread thread_;
};

}  // namespace flexnpu
