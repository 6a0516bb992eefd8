// SPDX-License-Identifier: Apache-2.0
#include "windows.h"

#include <algorithm>
#include <utility>

#include "clock.h"
#include "in_context.h"
#include "log.h"
#include "spin.h"
#include "tenant.h"

namespace flexnpu {
namespace {

constexpr uint64_t kDebtAtMostNs = 100'000'000;  // one long launch shall not silence a program for seconds

// By how much longer than known a window may look that had to wait for others; and by how much earlier than its time
// a device may say that something is over.
constexpr uint64_t kOverlapNs = 400'000;
constexpr uint64_t kEarlyNs = 200'000;
constexpr uint64_t kLeastNapNs = 20'000;
// A nap is over some ten microseconds late, in which the device stands still, unless as much is in flight by then.
constexpr uint64_t kSpinNs = 2 * kLeastNapNs;
// To be woken by the device takes tens of microseconds: behind something shorter, all that is in flight may be over.
constexpr uint64_t kLeastWaitNs = 200'000;

size_t first_place(uint64_t name) { return static_cast<size_t>(name * 0x9e3779b97f4a7c15ull >> 32); }

}  // namespace

Queue* Windows::find(aclrtStream stream) {
    const uint64_t name = name_of(stream);
    for (size_t i = 0; i < kQueues; ++i) {
        Queue& queue = queues_[(first_place(name) + i) % kQueues];
        const uint64_t found = queue.name.load(std::memory_order_acquire);
        if (found == name) return &queue;
    }
    return nullptr;
}

// Of a stream that has nothing in flight.
bool Windows::give_up_place(Queue& queue) {
    const uint64_t name = queue.name.load(std::memory_order_relaxed);
    if (name == 0) return true;
    if (queue.in_flight != 0 || queue.open.load(std::memory_order_relaxed) || queue.is_dirty()) return false;
    queue.name.store(0, std::memory_order_seq_cst);
    if (!queue.is_calling() && !queue.is_dirty()) return true;
    queue.name.store(name, std::memory_order_seq_cst);
    return false;
}

Queue* Windows::add(aclrtStream stream) {
    if (Queue* known = find(stream)) return known;
    const size_t start = first_place(name_of(stream));
    Queue* place = nullptr;
    for (size_t i = 0; i < kQueues && place == nullptr; ++i) {
        Queue& queue = queues_[(start + i) % kQueues];
        if (queue.name.load(std::memory_order_relaxed) == 0) place = &queue;
    }
    for (size_t i = 0; i < kQueues && place == nullptr; ++i) {
        if (give_up_place(queues_[(start + i) % kQueues])) place = &queues_[(start + i) % kQueues];
    }
    if (place == nullptr) return nullptr;
    place->covered = place->launched.load(std::memory_order_relaxed);
    place->in_flight = place->end_us = 0;
    aclrtContext context = nullptr;
    DeviceCalls::get()->get_context(&context);
    if (context != place->context) place->begin = nullptr;
    context_ = place->context = context;
    place->owing = false;
    place->name.store(name_of(stream), std::memory_order_seq_cst);
    return place;
}

void Windows::lose_track() {
    aclrtContext context = nullptr;
    if (DeviceCalls::get()->get_context(&context) == ACL_SUCCESS) context_ = context;
    untracked.store(true, std::memory_order_relaxed);
}

bool Windows::renew(aclrtEvent* event) {
    return *event != nullptr || DeviceCalls::get()->create_event(event, ACL_EVENT_TIME_LINE) == ACL_SUCCESS;
}

bool Windows::open(Queue& queue, bool fresh) {
    if (next_ - first_ >= kWindows - kQueues) return false;  // so that every open window can be closed
    if (queue.open.load(std::memory_order_relaxed)) return true;
    queue.begun = fresh || queue.in_flight == 0;
    if (queue.begun) {
        const InContext context(queue.context);
        queue.opened_ns = now_ns();
        if (!renew(&queue.begin) || DeviceCalls::get()->record(queue.begin, queue.stream()) != ACL_SUCCESS) {
            lose(queue);
            return true;
        }
    }
    queue.opened_at = queue.launched.load(std::memory_order_relaxed);
    queue.unknown = false;
    queue.behind = queue.begun && behind_;
    queue.hidden = queue.begun && hidden_;
    queue.mixed.store(false, std::memory_order_relaxed);
    queue.key.store(0, std::memory_order_relaxed);
    queue.open.store(true, std::memory_order_release);
    return true;
}

// Open: what the device does not let us follow is not measured, and drained with the whole device.
void Windows::lose(Queue& queue) {
    queue.open.store(false, std::memory_order_relaxed);
    queue.open_ns.store(0, std::memory_order_relaxed);
    queue.covered = queue.launched.load(std::memory_order_relaxed);
    untracked.store(true, std::memory_order_relaxed);
    tenant.report.ungoverned();
    if (!std::exchange(told_, true)) log(Level::warn, "the runtime refuses events of the gate: launches go unmeasured");
}

void Windows::close(Queue& queue, bool prompt, uint64_t excess) {
    // In this order, so that a launch whose call is not over is never taken for covered.
    const uint64_t finished = queue.finished.load(std::memory_order_seq_cst);
    const uint64_t launched = queue.launched.load(std::memory_order_seq_cst);
    const uint64_t inside = queue.started.load(std::memory_order_seq_cst) - finished;
    if (!queue.open.load(std::memory_order_relaxed) && !queue.is_dirty()) return;
    if (next_ - first_ >= kWindows) return lose(queue);
    const InContext context(queue.context);
    Window& window = at(next_);
    if (window.context != queue.context) window.begin = window.end = nullptr;
    window.context = queue.context;
    if (is_capturing(queue.stream()) || !renew(&window.end) ||
        DeviceCalls::get()->record(window.end, queue.stream()) != ACL_SUCCESS) {
        return lose(queue);
    }
    fill(window, queue, prompt);
    window.excess = excess;
    if (oldest() == next_) head_ns_ = window.begun ? queue.opened_ns : now_ns();
    queue.covered = launched - std::min(inside, launched - queue.covered);
    ++queue.in_flight;
    ++next_;
    in_flight_ns_ += window.ns;
}

void Windows::fill(Window& window, Queue& queue, bool prompt) {
    const bool opened = queue.open.exchange(false, std::memory_order_relaxed);
    std::swap(window.begin, queue.begin);
    window.queue = &queue;
    window.ns = queue.open_ns.exchange(0, std::memory_order_relaxed);
    window.key = queue.mixed.load(std::memory_order_relaxed) ? 0 : queue.key.load(std::memory_order_relaxed);
    window.launches = queue.launched.load(std::memory_order_relaxed) - queue.opened_at;
    window.begun = opened && queue.begun;
    window.host_ns = window.begun ? now_ns() - queue.opened_ns : 0;
    // The time between its events is that of its launches if no idleness of the program lies in it: it was one launch,
    // or all came while the device was still busy with the window before.
    window.tight = opened && (queue.begun ? prompt && window.launches == 1 : queue.in_flight > 0);
    window.unknown = !opened || queue.unknown;
    window.behind = window.begun && queue.behind;
    window.hidden = window.begun && queue.hidden;
    window.pins = 0;
    window.over = false;
}

void Windows::close_all() {
    for (Queue& queue : queues_) {
        if (queue.name.load(std::memory_order_relaxed) != 0 && !queue.owing) close(queue, false);
    }
}

// In the order of closing; a stream's windows end in that order, so one that is not over speaks for those after it.
void Windows::reap() {
    ++round_;
    for (uint64_t number = first_; number != next_; ++number) {
        Window& window = at(number);
        if (window.over || window.queue->looked == round_) continue;
        const InContext context(window.context);
        aclrtEventRecordedStatus status = ACL_EVENT_RECORDED_STATUS_NOT_READY;
        const aclError error = DeviceCalls::get()->query(window.end, &status);
        if (error != ACL_SUCCESS) {
            drop(window);
        } else if (status == ACL_EVENT_RECORDED_STATUS_COMPLETE) {
            finish(window);
        } else {
            window.queue->looked = round_;
        }
    }
    retire();
}

void Windows::retire() {
    while (first_ != next_ && at(first_).over && at(first_).pins == 0) ++first_;
}

void Windows::finish(Window& window) {
    measure(window);
    drop(window);
}

void Windows::drop(Window& window) {
    if (window.over) return;
    window.over = true;
    in_flight_ns_ -= window.ns;
    --window.queue->in_flight;
    if (window.excess != 0) debts.fetch_sub(1, std::memory_order_seq_cst);
}

void Windows::measure(Window& window) {
    const DeviceCalls* calls = DeviceCalls::get();
    Queue& queue = *window.queue;
    uint64_t begin = queue.end_us;
    uint64_t end = 0;
    if (calls->timestamp_us(window.end, &end) != ACL_SUCCESS) return;
    if (window.begun && calls->timestamp_us(window.begin, &begin) != ACL_SUCCESS) return;
    queue.end_us = end;
    if (begin == 0 || end < begin || window.launches == 0) return;
    head_ns_ = std::min(head_ns_ + (end - begin) * 1000, now_ns() + kEarlyNs);
    // The device may have waited for the host between the first event and the launch: a thread that lost its processor
    // there would make its kernel look as long as that.
    const uint64_t span = (end - begin) * 1000;
    const uint64_t took = std::max(span - std::min(span, window.host_ns), span / 4);
    const bool may_have = window.unknown || window.hidden || took <= window.ns + kOverlapNs;
    const bool waited = window.behind && took > window.ns && may_have;
    if (window.behind) behind_ = hidden_ = false;
    report_->busy(window.tight && (!waited || window.unknown) ? took : std::min(took, window.ns));
    if (window.tight && window.key != 0 && (!waited || window.unknown)) {
        learn(window, took, !waited && window.host_ns <= span / 2);
    }
    if (window.excess != 0) owe(took * window.excess / 1024);
}

void Windows::learn(const Window& window, uint64_t took, bool is_sure) {
    is_sure ? estimates.learn(window.key, took / window.launches) : estimates.guess(window.key, took);
}

void Windows::uncover() {
    if (!std::exchange(hidden_, false)) return;
    head_ns_ = now_ns();
    for (Queue& queue : queues_) queue.opened_ns = std::max(queue.opened_ns, head_ns_);
}

uint64_t Windows::oldest() const {
    uint64_t number = first_;
    while (number != next_ && at(number).over) ++number;
    return number;
}

uint64_t Windows::head_left_ns(const Window& head) const {
    const uint64_t now = now_ns();
    const uint64_t ran = now - std::min(now, head_ns_);
    return head.ns - std::min(ran, head.ns);
}

uint64_t Windows::left_ns() const {
    const uint64_t head = oldest();
    if (head == next_) return 0;
    if (!is_known(at(head))) return in_flight_ns_;
    return in_flight_ns_ - at(head).ns + head_left_ns(at(head));
}

uint64_t Windows::behind_ns() const {
    const uint64_t head = oldest();
    return head == next_ ? 0 : in_flight_ns_ - at(head).ns;
}

bool Windows::is_only_on(const Queue& queue) const {
    for (uint64_t number = first_; number != next_; ++number) {
        if (!at(number).over && at(number).queue != &queue) return false;
    }
    return true;
}

// Looks more and more often towards the expected end, as what is expected is the longest.
bool Windows::wait_until_near(uint64_t lead_ns) {
    reap();
    const uint64_t number = oldest();
    if (number == next_) return false;
    const Window& head = at(number);
    const uint64_t left = left_ns(), of_head = head_left_ns(head);
    const bool is_known = this->is_known(head) && of_head != 0;
    if (is_known && left <= lead_ns) return false;
    const uint64_t behind = left - of_head;
    const bool is_last = behind <= lead_ns;
    if (!is_known || (behind > kLeastWaitNs && of_head > kLeastWaitNs)) return wait_for_oldest();
    if (is_last && lead_ns < kLeastNapNs && left - lead_ns <= kSpinNs) return spin(at(number), left - lead_ns);
    lock_->release();
    nap_exactly(std::max(is_last ? (left - lead_ns) / 2 : of_head / 2, kLeastNapNs));
    lock_->acquire();
    return true;
}

// `wait` is given the event at its end, without the lock. The window is pinned, so that the event is nobody else's
// meanwhile.
template <class Wait>
aclError Windows::wait_outside(Window& window, Wait wait) {
    const aclrtContext context = window.context;
    const aclrtEvent end = window.end;
    ++window.pins;
    lock_->release();
    aclError error = ACL_SUCCESS;
    {
        const InContext in(context);
        error = wait(end);
    }
    lock_->acquire();
    --window.pins;
    return error;
}

// Or until this one is over.
bool Windows::spin(Window& window, uint64_t ns) {
    wait_outside(window, [&](aclrtEvent end) {
        spin_until(now_ns() + ns, [&] {
            aclrtEventRecordedStatus status = ACL_EVENT_RECORDED_STATUS_NOT_READY;
            const aclError error = DeviceCalls::get()->query(end, &status);
            return error == ACL_SUCCESS && status != ACL_EVENT_RECORDED_STATUS_COMPLETE;
        });
        return ACL_SUCCESS;
    });
    return true;
}

void Windows::owe(uint64_t ns) {
    const uint64_t from = std::max(now_ns(), hold_until_ns.load(std::memory_order_relaxed));
    hold_until_ns.store(from + std::min(ns, kDebtAtMostNs), std::memory_order_seq_cst);
}

bool Windows::wait_for_oldest() {
    const uint64_t number = oldest();
    if (number == next_) return false;
    Window& window = at(number);
    const aclError error = wait_outside(window, [](aclrtEvent end) { return DeviceCalls::get()->wait(end); });
    if (error != ACL_SUCCESS) drop(window);
    reap();
    return true;
}

void Windows::wait_until_over(uint64_t window) {
    reap();
    while (first_ < window && wait_for_oldest()) {
    }
}

// For what no event stands behind. Not while something is captured: the device would refuse, or end the capture.
bool Windows::wait_for_device() {
    const aclrtContext context = context_;
    if (context == nullptr || Gate::captures.load(std::memory_order_relaxed) > 0) return false;
    lock_->release();
    {
        const InContext in(context);
        DeviceCalls::get()->wait_for_device();
    }
    lock_->acquire();
    return true;
}

bool Windows::is_capturing(aclrtStream stream) const {
    if (Gate::captures.load(std::memory_order_relaxed) <= 0 || DeviceCalls::get() == nullptr) return false;
    aclmdlRICaptureStatus status = ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    aclmdlRI graph = nullptr;
    return DeviceCalls::get()->capture_info(stream, &status, &graph) == ACL_SUCCESS &&
           status != ACL_MODEL_RI_CAPTURE_STATUS_NONE;
}

uint64_t Windows::started() const {
    uint64_t sum = 0;
    for (const Queue& queue : queues_) sum += queue.started.load(std::memory_order_seq_cst);
    return sum;
}

void Windows::wait_for_calls() const {
    for (const Queue& queue : queues_) {
        const uint64_t started = queue.started.load(std::memory_order_seq_cst);
        for (int looks = 0; queue.finished.load(std::memory_order_seq_cst) < started; ++looks) {
            if (looks < 16) {
                sched_yield();
            } else {
                nap(50'000);
            }
        }
    }
}

bool Windows::is_calling() const {
    for (const Queue& queue : queues_) {
        if (queue.finished.load(std::memory_order_seq_cst) != queue.started.load(std::memory_order_seq_cst))
            return true;
    }
    return false;
}

void Windows::forget(aclrtStream stream) {
    Queue* queue = find(stream);
    if (queue == nullptr) return;
    if (queue->in_flight != 0 || queue->is_dirty()) untracked.store(true, std::memory_order_relaxed);
    for (uint64_t number = first_; number != next_; ++number) {
        if (at(number).queue == queue) drop(at(number));
    }
    queue->open.store(false, std::memory_order_relaxed);
    queue->open_ns.store(0, std::memory_order_relaxed);
    queue->name.store(0, std::memory_order_release);
}

// Another one may later have its address, and would know none of its events.
void Windows::forget(aclrtContext context, Queue& queue) {
    if (queue.name.load(std::memory_order_relaxed) != 0 && queue.context == context) forget(queue.stream());
    if (queue.context != context) return;
    queue.context = nullptr;
    queue.begin = nullptr;
}

void Windows::forget_context(aclrtContext context) {
    if (context == nullptr) return;
    for (Queue& queue : queues_) forget(context, queue);
    retire();
    for (Window& window : windows_) {
        if (window.context != context) continue;
        window.begin = window.end = nullptr;
        window.context = nullptr;
    }
    if (context_ == context) context_ = nullptr;
}

void Windows::forget_all() {
    for (Queue& queue : queues_) {
        if (queue.name.load(std::memory_order_relaxed) != 0) forget(queue.stream());
    }
    retire();
    context_ = nullptr;
    for (Window& window : windows_) window.begin = window.end = nullptr;
    for (Queue& queue : queues_) queue.begin = nullptr;
    untracked.store(false, std::memory_order_relaxed);
}

}  // namespace flexnpu
