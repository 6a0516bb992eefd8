// SPDX-License-Identifier: Apache-2.0
// Every launch passes here once, whatever layer it came by. A vNPU that is not time-shared passes with one relaxed load
// and one compare. A time-shared one must have entered the turn that is open and have credit left in its window of
// estimated device time; else, and for what uses more cores than are granted, it takes the slow path, which may sleep.
//
// Turns, with the arbiter: it closes a turn and then reads turn_entered; a process stores turn_entered and then looks
// once more whether the turn is still open (both sequentially consistent). So one of the two sees the other.
#pragma once

#include <utility>

#include "brevity.h"
#include "clearance.h"
#include "hails.h"
#include "patience.h"
#include "quota.h"
#include "report.h"
#include "windows.h"

namespace flexnpu {

struct Launch {
    enum class Where : uint8_t {
        stream,    // on a stream: events follow it
        blocking,  // the call returns when the device is done
        unknown,   // below the public layer: neither its stream nor its end are known
    };
    flexnpu_launch_kind kind;
    Where where;
    uint8_t grant_shift;  // of the granted count in the quota's word that `cores` is held against
    uint32_t cores;       // that it occupies; 0: not known, the grant is in its tiling
    uint64_t key;         // of its estimate; not 0
    void* stream;
};

constexpr bool has_flags(uint64_t turn, uint64_t flags) { return (turn & flags) == flags; }
// Open, or to be opened by who comes.
constexpr bool lets_in(uint64_t turn) { return (turn & (FLEXNPU_TURN_OPEN | FLEXNPU_TURN_STANDBY)) != 0; }

constexpr uint8_t of_cube_cores = 0;
constexpr uint8_t of_vector_cores = 16;

constexpr uint64_t launch_key(uint64_t handle, uint64_t variant) {
    const uint64_t mixed = handle ^ (variant + 1) * 0x9e3779b97f4a7c15ull;
    return mixed != 0 ? mixed : 1;
}

class Gate;

// One launch under way: from before the real call to after it.
class Pass {
  public:
    Pass() = default;
    ~Pass();
    Pass(Pass&& other)
        : gate_(std::exchange(other.gate_, nullptr)),
          queue_(other.queue_),
          key_(other.key_),
          excess_(other.excess_),
          began_ns_(other.began_ns_),
          last_(other.last_) {}
    Pass& operator=(Pass&&) = delete;

  private:
    friend class Gate;
    Pass(Gate* gate, Queue* queue, uint64_t key) : gate_(gate), queue_(queue), key_(key) {}

    Gate* gate_ = nullptr;
    Queue* queue_ = nullptr;
    uint64_t key_ = 0;
    uint64_t excess_ = 0;    // in 1/1024: what it owes for each ns that it takes
    uint64_t began_ns_ = 0;  // of a blocking one
    bool last_ = false;      // its window ends with it
};

class Gate {
  public:
    void bind(uint32_t ordinal, const flexnpu_control_device* section, const Quota* quota, DeviceReport* report,
              uint64_t* hail);

    // What is not held at the gate is counted only.
    void count(flexnpu_launch_kind kind) {
        const uint64_t word = quota_->word();
        if (word != last_.load(std::memory_order_relaxed)) note(word);
        report_->launch(kind);
    }

    [[nodiscard]] Pass pass(const Launch& launch) {
        const uint64_t word = load_word(section_->quota, std::memory_order_relaxed);
        report_->launch(launch.kind);
        if (launch.where == Launch::Where::stream) clearance_.launched_on(launch.stream);
        if (__builtin_expect(turn(std::memory_order_relaxed) == free_.load(std::memory_order_relaxed) &&
                                 word == last_.load(std::memory_order_relaxed) && launch.cores <= granted(word, launch),
                             true)) {
            return {};
        }
        return pass_slowly(launch, word);
    }

    // Streams whose launches are recorded now, in the whole process. Recorded launches cost no device time: they pass
    // without a charge, and no event of ours may get between them.
    static std::atomic<int32_t> captures;
    void before_capture();

    // Before the program destroys a stream, or all there is on the device.
    void stream_ends(void* stream);
    void context_ends(void* context);
    void device_ends();

    // For the herald: something may be tiled under this quota, and launched until a newer one is applied: until nothing
    // that was tiled under an older one can be launched any more.
    void hold(uint64_t word);
    void applied(uint64_t word);
    // And: from now on it is waited for what is in flight; whether it is over.
    void mark_in_flight();
    bool is_clear();

    void reset_in_child();

    // The connection to the daemon. Its end opens the gate until there is another, which counts turns anew.
    static void connect(int socket);

    // For the meter.
    uint64_t turn(std::memory_order order = std::memory_order_seq_cst) const {
        return load_word(section_->turn, order);
    }
    bool is_inside() const {
        return entered_.load(std::memory_order_seq_cst) != drained_.load(std::memory_order_seq_cst);
    }
    bool is_inside(uint64_t turn) const;
    bool is_orphaned() const { return orphaned_.load(std::memory_order_seq_cst); }
    void look_for_daemon();
    void settle_debts();
    // Sleeps for a lull, longer while the device has work, and no longer than the turn's word stands. True: this
    // process has launched nothing meanwhile, and nothing of it is on the device.
    bool is_idle(uint64_t turn);
    // Ends a turn that this process does not use.
    void give_up_turn();
    void end_turn();
    void sleep_in_turn(uint64_t turn) const;
    std::atomic<uint32_t> meter_bell{0};

  private:
    friend class Pass;

    static uint64_t granted(uint64_t word, const Launch& launch) { return word >> launch.grant_shift & 0xffff; }

    // The first launch after a change tells the daemon that the new grant is in use.
    __attribute__((noinline)) void note(uint64_t word);

    __attribute__((noinline)) Pass pass_slowly(const Launch& launch, uint64_t word);
    Pass pass_patiently(const Launch& launch, uint64_t excess);
    Queue* pass_quickly(const Launch& launch, bool* last);
    uint64_t excess_of(const Launch& launch, uint64_t word);
    void pay_debts();
    bool is_free(uint64_t turn);
    bool enter(uint64_t turn);
    bool may_enter(uint64_t turn);
    void come_back();
    void wait_for_turn(uint64_t before);
    bool is_late(uint64_t number);
    bool is_hailed();
    void wait_for_close(uint64_t turn);
    // Sleeps for as long as the turn's word is this one, or less.
    void sleep_while(uint64_t turn, uint64_t most_ns) const;
    Queue& queue_of(const Launch& launch);
    bool take(const Launch& launch, Pass& pass);
    bool join(const Launch& launch, Pass& pass, uint64_t ns);
    uint64_t bound_ns() const;
    bool is_tight() const { return bound_ns() == FLEXNPU_TIGHT_NS; }
    uint64_t window_ns() const;
    uint64_t estimate(uint64_t key) const;
    uint64_t lead_ns() const;
    uint64_t room_lead_ns(uint64_t ns) const;
    bool has_room(const Queue& queue, uint64_t ns) const;
    void look_behind();
    void wait_while_behind(uint64_t number);
    void charge(Queue& queue, uint64_t key, uint64_t ns);
    void leave(Pass& pass);
    void leave_blocking(const Pass& pass);
    void open_without_daemon(uint64_t turn);
    void wake_meter();
    bool can_follow();

    // A word that no turn has: closed to the fast paths.
    static constexpr uint64_t kNone = ~uint64_t{0};

    const flexnpu_control_device* section_ = nullptr;
    const Quota* quota_ = nullptr;
    DeviceReport* report_ = nullptr;
    Hails hails_;
    Clearance clearance_;
    std::atomic<uint64_t> last_{0};
    std::atomic<uint64_t> held_{0};                  // counts for which something may have been tiled that owes nothing
    std::atomic<uint64_t> free_{0};                  // the turn's word under which nothing is charged
    std::atomic<uint64_t> passed_{0};                // the turn's word that this process has entered
    std::atomic<int64_t> credit_ns_{0};              // left in the open windows
    std::atomic<uint64_t> entered_{0}, drained_{0};  // numbers of turns
    std::atomic<uint64_t> late_{0};                  // of the newest that it rang for as missed
    std::atomic<bool> orphaned_{false};              // open, as there is no daemon
    std::atomic<bool> has_meter_{false};
    std::atomic<uint32_t> device_vector_{0};
    uint64_t left_ = 0;  // the turn that the meter has ended, of this connection; under the lock
    uint32_t connection_ = 0;
    bool told_ = false;
    Patience patience_;  // and when a turn was given up by it, 0 since it was asked for again; under the lock
    uint64_t given_up_ns_ = 0;
    Brevity brevity_;
    Lock lock_;
    Windows* windows_ = nullptr;
};

inline Pass::~Pass() {
    if (gate_ != nullptr) gate_->leave(*this);
}

}  // namespace flexnpu
