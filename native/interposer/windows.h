// SPDX-License-Identifier: Apache-2.0
// What this process has in flight on one device, as far as events tell. A window is a stretch of launches on one
// stream; an event at its end says when it is over, and how long it took. Only what is time-shared or owes time has
// windows: they are off the path of everything else.
//
// The gate's lock guards all but what is atomic. A launch counts itself started before it looks at the turn and
// finished when the real call has returned; whoever ends a turn first takes the turn away and then waits for who has
// started.
#pragma once

#include "device_calls.h"
#include "estimate.h"
#include "lock.h"
#include "report.h"

namespace flexnpu {

// A stream that launches were put on.
struct Queue {
    std::atomic<uint64_t> name;                   // its handle + 1; 0: a free place
    std::atomic<uint64_t> started{}, finished{};  // calls that came to look at the turn; that are over, or did not pass
    std::atomic<uint64_t> launched{};             // those that passed
    std::atomic<uint64_t> open_ns{};              // estimated, of the open window
    std::atomic<uint64_t> key{};                  // of its launches; mixed: not of all of them
    std::atomic<bool> open{}, mixed{};
    aclrtContext context = nullptr;
    aclrtEvent begin = nullptr;  // of the open window, where `begun`
    bool begun = false;          // false: it follows on the one before
    bool owing = false;          // a launch that will owe is under way: it closes its window itself
    bool unknown = false;        // something in the open window was never measured
    bool behind = false;         // the open window may have waited for what others had on the device,
    bool hidden = false;         // and nobody knows for how long
    uint64_t opened_ns = 0;      // CLOCK_MONOTONIC, where `begun`
    uint64_t opened_at = 0;      // of `launched`
    uint64_t covered = 0;        // launches that lie in windows
    uint64_t in_flight = 0;      // windows that are not over
    uint64_t end_us = 0;         // of the newest one that is
    uint64_t looked = 0;         // the round of reap() that found it busy

    bool is_dirty() const { return covered != launched.load(std::memory_order_seq_cst); }
    bool is_calling() const {
        return finished.load(std::memory_order_seq_cst) != started.load(std::memory_order_seq_cst);
    }
    aclrtStream stream() const { return reinterpret_cast<aclrtStream>(name.load(std::memory_order_relaxed) - 1); }
};

class Windows {
  public:
    void bind(DeviceReport* report, Lock* lock) {
        report_ = report;
        lock_ = lock;
    }

    // Without the lock; null: not known yet. A place may be given to another stream, so whoever counts itself started
    // there looks at the name once more.
    Queue* find(aclrtStream stream);
    static uint64_t name_of(aclrtStream stream) { return reinterpret_cast<uint64_t>(stream) + 1; }
    // For calls that return when the device is done with them: counted, without windows.
    Queue& blocking() { return queues_[kQueues]; }

    // Null: no place for one more stream.
    Queue* add(aclrtStream stream);
    // A launch follows that no window will cover: the device is drained as a whole.
    void lose_track();
    // Begins a window; false: too many are not over yet. `fresh`: measured from here, not from the end of the one
    // before.
    bool open(Queue& queue, bool fresh);
    // Ends it. `prompt`: right after its last launch, so that no idleness lies between that and its event. `excess`, in
    // 1/1024: what its launches owe for each ns they take.
    void close(Queue& queue, bool prompt, uint64_t excess = 0);
    void close_all();
    // Looks which windows are over.
    void reap();
    // Sleeps, without the lock, until the oldest window is over. False: there is none.
    bool wait_for_oldest();
    void wait_until_over(uint64_t window);
    // False: it cannot be waited for now.
    bool wait_for_device();
    // Waits, without the lock, about until no more than `lead_ns` is left of what is in flight, or until something of
    // it is over. False: no more is left.
    bool wait_until_near(uint64_t lead_ns);
    // Estimated: how long the device still works for what is in flight. A window whose length or beginning is not known
    // is not over before it is.
    uint64_t left_ns() const;
    // Estimated: how long it will work for what waits behind the oldest window that is not over.
    uint64_t behind_ns() const;
    // Nothing is in flight on another stream, whose events would count the wait for it as time of what comes here.
    bool is_only_on(const Queue& queue) const;
    // Nothing that it follows is on the device.
    bool is_empty() const { return oldest() == next_; }
    // What others launched in the turn before may not be over; `hidden`: nor will it be soon.
    void enter_turn(bool hidden) {
        behind_ = true;
        hidden_ = hidden;
    }
    // It is: the device works for this process from here.
    void uncover();

    uint64_t in_flight_ns() const { return in_flight_ns_; }
    uint64_t next() const { return next_; }
    bool is_capturing(aclrtStream stream) const;
    uint64_t started() const;
    // Returns when all that had started has finished; without the lock.
    void wait_for_calls() const;
    bool is_calling() const;
    void owe(uint64_t ns);

    void forget(aclrtStream stream);
    void forget_context(aclrtContext context);
    void forget_all();

    Estimates estimates;
    std::atomic<uint32_t> debts{0};          // launches that owe and are not over
    std::atomic<uint64_t> hold_until_ns{0};  // CLOCK_MONOTONIC: until then nothing is launched, as a debt is being paid
    std::atomic<bool> untracked{false};      // something was launched that no window covers

  private:
    struct Window {
        aclrtEvent begin = nullptr, end = nullptr;
        aclrtContext context = nullptr;
        Queue* queue = nullptr;
        uint64_t ns = 0, key = 0, launches = 0, excess = 0, host_ns = 0;
        uint32_t pins = 0;
        bool begun = false, tight = false, over = false, unknown = false, behind = false, hidden = false;
    };

    Window& at(uint64_t number) { return windows_[number % kWindows]; }
    const Window& at(uint64_t number) const { return windows_[number % kWindows]; }
    uint64_t oldest() const;
    uint64_t head_left_ns(const Window& head) const;
    bool is_known(const Window& head) const { return !head.unknown && !(head.hidden && hidden_); }
    void learn(const Window& window, uint64_t took, bool is_sure);
    bool renew(aclrtEvent* event);
    void fill(Window& window, Queue& queue, bool prompt);
    void drop(Window& window);
    void finish(Window& window);
    void measure(Window& window);
    void lose(Queue& queue);
    void retire();
    template <class Wait>
    aclError wait_outside(Window& window, Wait wait);
    bool spin(Window& window, uint64_t ns);

    void forget(aclrtContext context, Queue& queue);
    bool give_up_place(Queue& queue);

    static constexpr size_t kQueues = 64;
    static constexpr uint64_t kWindows = 128;
    Queue queues_[kQueues + 1]{};
    Window windows_[kWindows]{};
    uint64_t first_ = 0, next_ = 0;  // windows that are closed, by number; those before first_ are over
    uint64_t in_flight_ns_ = 0;
    uint64_t head_ns_ = 0;  // CLOCK_MONOTONIC: since when the device works on the oldest that is not over
    bool behind_ = false, hidden_ = false;
    uint64_t round_ = 0;
    aclrtContext context_ = nullptr;  // in which the program used the device last
    bool told_ = false;
    DeviceReport* report_ = nullptr;
    Lock* lock_ = nullptr;
};

}  // namespace flexnpu
