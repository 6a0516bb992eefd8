// SPDX-License-Identifier: Apache-2.0
#include "gate.h"

#include <limits.h>

#include <algorithm>
#include <new>
#include <utility>

#include "clock.h"
#include "futex.h"
#include "log.h"
#include "lookup.h"
#include "meter.h"
#include "tenant.h"

namespace flexnpu {

constinit std::atomic<int32_t> Gate::captures{0};

namespace {

constexpr uint64_t kUnboundWindowNs = 4'000'000;  // of estimated time, where nothing bounds what is in flight
constexpr uint64_t kUnknownNs = 1'000'000;        // of a launch that was never measured, where nothing bounds it
constexpr uint64_t kWhole = 1024;
// Of short operators beside a higher priority: what may wait behind the one that runs.
constexpr uint64_t kShortNs = FLEXNPU_TIGHT_NS * 3 / 4;
// Waking who launches next takes about this long; it is done while the device still works on what is in flight.
constexpr uint64_t kLeadNs = 150'000;

// Apart from the gates: all zero, so that they take no room in the library's file.
constinit Windows windows_of_device[FLEXNPU_DEVICES];

uint32_t ask_device_vector(int32_t device) {
    int64_t cores = 0;
    const auto ask = reinterpret_cast<decltype(&::aclrtGetDeviceInfo)>(real_function(slot_aclrtGetDeviceInfo));
    const bool told =
        ask != nullptr && ask(static_cast<uint32_t>(device), ACL_DEV_ATTR_VECTOR_CORE_NUM, &cores) == ACL_SUCCESS;
    return told && cores > 0 ? static_cast<uint32_t>(cores) : UINT16_MAX;
}

// To the device's time, and to the process's histogram.
void count_wait(DeviceReport& report, uint64_t since_ns) {
    const uint64_t ns = now_ns() - since_ns;
    report.waited(ns);
    tenant.report.waited(ns);
}

// A thread that waits at the gate, as the daemon sees it: from when it finds the gate closed to when it is inside.
class Waiting {
  public:
    explicit Waiting(DeviceReport* report) : report_(report) {}
    ~Waiting() { lower(); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    void raise() {
        if (since_ns_ != 0) return;
        since_ns_ = now_ns();
        report_->waiting(1);
        report_->ring();
    }
    void lower() {
        if (since_ns_ == 0) return;
        report_->waiting(-1);
        count_wait(*report_, since_ns_);
        since_ns_ = 0;
    }

  private:
    DeviceReport* report_;
    uint64_t since_ns_ = 0;
};

}  // namespace

void Gate::bind(uint32_t ordinal, const flexnpu_control_device* section, const Quota* quota, DeviceReport* report,
                uint64_t* hail) {
    if (section_ == nullptr) {
        free_.store(FLEXNPU_TURN_FREE, std::memory_order_relaxed);
        passed_.store(kNone, std::memory_order_relaxed);
        held_.store(load_word(section->quota, std::memory_order_acquire), std::memory_order_relaxed);
    }
    section_ = section;
    quota_ = quota;
    report_ = report;
    hails_.bind(hail, section);
    windows_ = &windows_of_device[ordinal];
    windows_->bind(report, &lock_);
}

void Gate::hold(uint64_t word) {
    uint64_t before = held_.load(std::memory_order_relaxed), most = 0;
    do {
        most = uint64_t{std::max(flexnpu_quota_vector(before), flexnpu_quota_vector(word))} << of_vector_cores |
               std::max(flexnpu_quota_cube(before), flexnpu_quota_cube(word));
    } while (!held_.compare_exchange_weak(before, most, std::memory_order_relaxed));
}

// Unless a newer quota was published meanwhile, under which more may have been tiled since.
void Gate::applied(uint64_t word) {
    if (quota_->word(std::memory_order_acquire) == word) held_.store(word, std::memory_order_relaxed);
}

void Gate::note(uint64_t word) {
    last_.store(word, std::memory_order_relaxed);
    hold(word);
    report_->seen(flexnpu_quota_grant(word));
    const DeviceCalls* calls = DeviceCalls::get();
    aclrtContext context = nullptr;
    if (calls != nullptr && calls->get_context(&context) == ACL_SUCCESS) clearance_.used_in(context);
}

void Gate::mark_in_flight() {
    const Held held(lock_);
    clearance_.mark();
}

bool Gate::is_clear() {
    const Held held(lock_);
    return clearance_.is_clear();
}

// A kernel may lay out more blocks than there are cores; they come in waves, on no more cores than the device has.
// Until fewer cores are applied, nobody else gets those of before: what was tiled for them is launched, and owes
// nothing.
uint64_t Gate::excess_of(const Launch& launch, uint64_t word) {
    const uint64_t cores = std::max(granted(word, launch), granted(held_.load(std::memory_order_relaxed), launch));
    uint64_t used = launch.cores;
    if (used <= cores || cores == 0) return 0;
    if (launch.grant_shift == of_vector_cores) {
        uint32_t most = device_vector_.load(std::memory_order_relaxed);
        if (most == 0) device_vector_.store(most = ask_device_vector(quota_->device()), std::memory_order_relaxed);
        used = std::min<uint64_t>(used, most);
    }
    return used > cores ? used * kWhole / cores - kWhole : 0;
}

Pass Gate::pass_slowly(const Launch& launch, uint64_t word) {
    if (word != last_.load(std::memory_order_relaxed)) note(word);
    const uint64_t excess = excess_of(launch, word);
    if (excess == 0) {
        if (turn(std::memory_order_relaxed) == free_.load(std::memory_order_relaxed)) return {};
        bool last = false;
        if (Queue* queue = pass_quickly(launch, &last)) {
            Pass pass(this, queue, launch.key);
            pass.last_ = last;
            return pass;
        }
    }
    return pass_patiently(launch, excess);
}

// The granted path of a time-shared vNPU: no lock, no call.
Queue* Gate::pass_quickly(const Launch& launch, bool* last) {
    if (launch.where != Launch::Where::stream || captures.load(std::memory_order_relaxed) > 0) return nullptr;
    Queue* queue = windows_->find(launch.stream);
    if (queue == nullptr) return nullptr;
    queue->started.fetch_add(1, std::memory_order_seq_cst);
    if (turn() == passed_.load(std::memory_order_seq_cst) && hails_.is_quiet() &&
        queue->open.load(std::memory_order_acquire) &&
        queue->name.load(std::memory_order_relaxed) == Windows::name_of(launch.stream)) {
        const int64_t ns = static_cast<int64_t>(windows_->estimates.take(launch.key));
        const int64_t left = ns > 0 ? credit_ns_.fetch_sub(ns, std::memory_order_relaxed) - ns : -1;
        if (left >= 0) {
            charge(*queue, launch.key, static_cast<uint64_t>(ns));
            *last = left < ns;
            return queue;
        }
    }
    queue->finished.fetch_add(1, std::memory_order_seq_cst);
    return nullptr;
}

void Gate::charge(Queue& queue, uint64_t key, uint64_t ns) {
    queue.launched.fetch_add(1, std::memory_order_seq_cst);
    queue.open_ns.fetch_add(ns, std::memory_order_relaxed);
    const uint64_t before = queue.key.load(std::memory_order_relaxed);
    if (before == key) return;
    if (before != 0) queue.mixed.store(true, std::memory_order_relaxed);
    queue.key.store(key, std::memory_order_relaxed);
}

Pass Gate::pass_patiently(const Launch& launch, uint64_t excess) {
    if (launch.where == Launch::Where::stream && windows_->is_capturing(launch.stream)) return {};
    pay_debts();
    if (excess == 0 && is_free(turn())) return {};
    if (!can_follow()) return {};
    Waiting waiting(report_);
    for (;;) {
        pay_debts();
        const uint64_t now = turn();
        const bool free = is_free(now);
        if (free && excess == 0) return {};
        Queue& queue = queue_of(launch);
        queue.started.fetch_add(1, std::memory_order_seq_cst);
        const bool entered = free || enter(now);
        const bool hailed = entered && !free && is_hailed();
        if (entered && !hailed) {
            waiting.lower();
            Pass pass(this, &queue, launch.key);
            pass.excess_ = excess;
            if (take(launch, pass)) return pass;
            pass.gate_ = nullptr;
            queue.finished.fetch_add(1, std::memory_order_seq_cst);
            const Held held(lock_);
            windows_->wait_until_near(room_lead_ns(estimate(launch.key)));
        } else {
            queue.finished.fetch_add(1, std::memory_order_seq_cst);
            come_back();
            waiting.raise();
            hailed ? wait_for_close(now) : wait_for_turn(now);
        }
    }
}

// Not time-shared, or open for want of a daemon.
bool Gate::is_free(uint64_t turn) {
    const bool rings = has_flags(turn, FLEXNPU_TURN_OPEN | FLEXNPU_TURN_RING);
    if (turn != FLEXNPU_TURN_FREE && !rings) return turn == free_.load(std::memory_order_relaxed);
    const Held held(lock_);
    if (rings && turn != free_.load(std::memory_order_relaxed)) {
        // No turn to drain: the bell alone says that the cores are wanted back.
        report_->entered(flexnpu_turn_number(turn));
        report_->drained(flexnpu_turn_number(turn));
        report_->ring();
    }
    if (windows_->debts.load(std::memory_order_seq_cst) == 0) free_.store(turn, std::memory_order_relaxed);
    return true;
}

// What has no place among the queues is still counted while it is in the real call; the device is drained as a whole.
Queue& Gate::queue_of(const Launch& launch) {
    if (launch.where == Launch::Where::stream) {
        if (Queue* known = windows_->find(launch.stream)) return *known;
        const Held held(lock_);
        // Where all places are taken, one whose work is over is made free.
        for (int tries = 0; tries < 3; ++tries) {
            if (Queue* fresh = windows_->add(launch.stream)) return *fresh;
            windows_->close_all();
            if (!windows_->wait_for_oldest()) break;
        }
    }
    if (launch.where != Launch::Where::blocking) {
        const Held held(lock_);
        windows_->lose_track();
    }
    return windows_->blocking();
}

// Under an estimate's worth of credit, or alone where there is no (good) estimate. False: no room; wait and come again.
bool Gate::take(const Launch& launch, Pass& pass) {
    if (launch.where == Launch::Where::blocking) pass.began_ns_ = now_ns();
    if (pass.queue_ == &windows_->blocking()) return true;
    const Held held(lock_);
    Queue& queue = *pass.queue_;
    if (queue.name.load(std::memory_order_relaxed) != Windows::name_of(launch.stream)) return false;  // given away
    const uint64_t bound = this->bound_ns(), ns = estimate(launch.key);
    const bool alone = pass.excess_ != 0 || windows_->estimates.is_due(launch.key);
    look_behind();
    windows_->reap();
    if (!alone && join(launch, pass, ns)) return true;
    windows_->close_all();
    if (bound != 0 && !has_room(queue, ns)) return false;
    if (pass.excess_ == 0 && !hails_.is_quiet() && hails_.is_hailed(now_ns())) return false;
    if (!windows_->open(queue, pass.excess_ != 0)) return false;
    const uint64_t room = window_ns(), credit = alone || room < ns ? 0 : room - ns;
    credit_ns_.store(static_cast<int64_t>(credit), std::memory_order_relaxed);
    charge(queue, launch.key, ns);
    queue.unknown = windows_->estimates.peek(launch.key) == 0;
    pass.last_ = credit < ns;
    if (pass.excess_ == 0) return true;
    // What owes stops all that comes after it until it is known how much.
    queue.owing = true;
    windows_->debts.fetch_add(1, std::memory_order_seq_cst);
    free_.store(kNone, std::memory_order_relaxed);
    passed_.store(kNone, std::memory_order_seq_cst);
    return true;
}

uint64_t Gate::bound_ns() const { return load_word(section_->in_flight_ns, std::memory_order_relaxed); }

// A quarter of the bound at a time: events for each launch would cost more than they tell.
uint64_t Gate::window_ns() const {
    const uint64_t bound = bound_ns();
    return bound == 0 ? kUnboundWindowNs : bound / 4;
}

// Of a launch that was never measured as much as may be in flight.
uint64_t Gate::estimate(uint64_t key) const {
    const uint64_t known = windows_->estimates.peek(key), bound = bound_ns();
    return known != 0 ? known : bound != 0 ? bound : kUnknownNs;
}

// Beside a higher priority much less than what it was promised to wait at most.
uint64_t Gate::lead_ns() const { return is_tight() ? FLEXNPU_TIGHT_NS / 4 : kLeadNs; }

// How long before its end what is in flight has room for one of so many ns. Whoever comes in this time with a higher
// priority, or is on its way to the gate by then, finds one operator more before it: of a hundred times not once, where
// that is long.
uint64_t Gate::room_lead_ns(uint64_t ns) const {
    const uint64_t lead = lead_ns(), in_flight = windows_->in_flight_ns(), window = std::max(ns, window_ns());
    if (!is_tight()) return lead;
    if (window <= kShortNs) return std::max(lead, kShortNs - window);
    return in_flight > FLEXNPU_TIGHT_NS ? std::min(lead, in_flight / 1000) : lead;
}

// Beside a higher priority some short ones may wait behind the operator that runs, however long that is, so that the
// device does not wait for the host between them.
bool Gate::has_room(const Queue& queue, uint64_t ns) const {
    const uint64_t left = windows_->left_ns(), window = std::max(ns, window_ns());
    if (left <= room_lead_ns(ns)) return true;
    if (!is_tight()) return left + window <= bound_ns();
    return windows_->behind_ns() + window <= kShortNs && windows_->is_only_on(queue);
}

// The first launch on a stream while the windows of others have credit left.
bool Gate::join(const Launch& launch, Pass& pass, uint64_t ns) {
    const int64_t left = credit_ns_.load(std::memory_order_relaxed) - static_cast<int64_t>(ns);
    if (left < 0 || !windows_->open(*pass.queue_, false)) return false;
    credit_ns_.fetch_sub(static_cast<int64_t>(ns), std::memory_order_relaxed);
    charge(*pass.queue_, launch.key, ns);
    pass.last_ = left < static_cast<int64_t>(ns);
    return true;
}

void Gate::leave(Pass& pass) {
    Queue& queue = *pass.queue_;
    if (pass.began_ns_ != 0) leave_blocking(pass);
    if (!pass.last_) {
        queue.finished.fetch_add(1, std::memory_order_seq_cst);
        return;
    }
    {
        const Held held(lock_);
        queue.finished.fetch_add(1, std::memory_order_seq_cst);
        windows_->reap();
        const uint64_t before = windows_->next();
        windows_->close(queue, true, pass.excess_);
        if (pass.excess_ != 0) queue.owing = false;
        if (pass.excess_ != 0 && windows_->next() == before) windows_->debts.fetch_sub(1, std::memory_order_seq_cst);
    }
    if (pass.excess_ == 0) return;
    wake_meter();
    futex_wake(const_cast<uint32_t*>(low_word(section_->turn)), INT_MAX);  // it may sleep there
}

void Gate::leave_blocking(const Pass& pass) {
    const uint64_t took = now_ns() - pass.began_ns_;
    report_->busy(took);
    const Held held(lock_);
    if (pass.excess_ != 0) windows_->owe(took * pass.excess_ / kWhole);
}

// Nothing is launched before the device time that this process took beyond its cores has gone by.
void Gate::pay_debts() {
    uint64_t since = 0;
    while (windows_->debts.load(std::memory_order_seq_cst) != 0 || windows_->hold_until_ns.load() != 0) {
        const uint64_t now = now_ns();
        if (since == 0) since = now;
        settle_debts();
        uint64_t until = windows_->hold_until_ns.load(std::memory_order_seq_cst);
        if (until == 0) continue;
        if (until <= now) {
            windows_->hold_until_ns.compare_exchange_strong(until, 0, std::memory_order_seq_cst);
        } else {
            nap(until - now);
        }
    }
    if (since != 0) count_wait(*report_, since);
}

void Gate::settle_debts() {
    while (windows_->debts.load(std::memory_order_seq_cst) != 0) {
        bool waited = false;
        {
            const Held held(lock_);
            waited = windows_->wait_for_oldest();
        }
        if (!waited) nap(50'000);  // its call has not returned yet
    }
}

void Gate::wake_meter() {
    meter_bell.fetch_add(1, std::memory_order_seq_cst);
    futex_wake(reinterpret_cast<uint32_t*>(&meter_bell), 1);
}

// Open: without events of the device, or a thread that ends turns, nothing is held at the gate. Counted once.
bool Gate::can_follow() {
    if (DeviceCalls::get() != nullptr) {
        if (has_meter_.load(std::memory_order_acquire)) return true;
        const Held held(lock_);
        if (has_meter_.load(std::memory_order_relaxed) || start_meter(this)) {
            has_meter_.store(true, std::memory_order_release);
            return true;
        }
        if (!told_) log(Level::warn, "no thread can be started to end turns: raise the limit of processes (ulimit -u)");
    }
    if (!std::exchange(told_, true)) tenant.report.ungoverned();
    return false;
}

void Gate::before_capture() {
    if (turn(std::memory_order_relaxed) == FLEXNPU_TURN_FREE || DeviceCalls::get() == nullptr) return;
    const Held held(lock_);
    windows_->close_all();
}

void Gate::stream_ends(void* stream) {
    const Held held(lock_);
    clearance_.forget(stream);
    windows_->forget(stream);
}

void Gate::context_ends(void* context) {
    const Held held(lock_);
    clearance_.forget_context(context);
    windows_->forget_context(context);
}

void Gate::device_ends() {
    const Held held(lock_);
    clearance_.forget_all();
    windows_->forget_all();
}

// Nothing that the parent has on the device is the child's, nor are its threads.
void Gate::reset_in_child() {
    captures.store(0);
    if (windows_ != nullptr) new (windows_) Windows();
    new (this) Gate();
}

}  // namespace flexnpu
