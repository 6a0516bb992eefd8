// SPDX-License-Identifier: Apache-2.0
#include "runtime/stream.h"

#include <array>
#include <chrono>
#include <utility>

#include "runtime/copy.h"
#include "runtime/device_state.h"
#include "runtime/event.h"
#include "runtime/graph.h"
#include "runtime/profile.h"
#include "runtime/status.h"

namespace softnpu {
namespace {

constexpr uint32_t kMostTouched = 64;  // of an operator over a list, the first so many say how much of it the L2 has

}  // namespace

Stream::Stream(DeviceState& device, uint32_t id) : device_(device), id_(id), worker_([this] { work(); }) {}

void Stream::close() {
    {
        const std::lock_guard lock(mutex_);
        if (stopping_) {
            return;
        }
        stopping_ = true;
        work_.notify_one();
    }
    worker_.join();
    queue_ = {};
}

aclError Stream::enqueue(Task task) {
    if (Graph* graph = capture.load(std::memory_order_relaxed)) {
        graph->append(task);
        return ACL_SUCCESS;
    }
    if (Profile::on()) {
        task.launched_ns = raw_now_ns();  // first: no task begins before it is launched
        task.thread = thread_number();
    }
    task.enqueued_ns = device_.device().now_ns();
    const std::lock_guard lock(mutex_);
    if (stopping_) {
        return fail(ACL_ERROR_RT_STREAM_CONTEXT, "stream %u of device %u was destroyed", id_, device_.index());
    }
    if (update_ != nullptr) {
        if (updated_ >= update_->count) {
            return fail(ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED, "an update of a task group of %zu tasks has more",
                        update_->count);
        }
        update_->graph->replace(*update_, updated_++, task);
        return ACL_SUCCESS;
    }
    queue_.push_back(task);
    ++enqueued_;
    if (sleeping_) {
        work_.notify_one();
    }
    return ACL_SUCCESS;
}

// With the task's event, which stays until the task is over.
aclError Stream::enqueue_held(const Task& task) {
    task.event->retain();
    const aclError error = enqueue(task);
    if (error != ACL_SUCCESS) {
        task.event->release();
    }
    return error;
}

aclError Stream::record(Event& event) {
    if (Graph* graph = capture.load()) {
        event.capture.store(graph->id());
        if (!event.external()) {
            return ACL_SUCCESS;  // the order of the graph's nodes says the same
        }
    } else {
        event.capture.store(0);
    }
    Task task{TaskKind::record};
    task.event = &event;
    task.number = event.external() ? 0 : event.expect();
    const aclError error = enqueue_held(task);
    if (error != ACL_SUCCESS) {
        event.complete(task.number, device_.device().now_ns());  // nobody else would
    }
    return error;
}

aclError Stream::wait_for(Event& event, int32_t timeout_ms) {
    Task task{event.external() ? TaskKind::await : TaskKind::wait};
    task.timeout_ms = timeout_ms;
    if (!event.external()) {
        Graph* graph = capture_of(event.capture.load());
        if (graph != nullptr && capture.load() == nullptr) {
            graph->join(*this);
        }
        task.number = event.newest();
        if (capture.load() != nullptr || task.number == 0) {
            return ACL_SUCCESS;
        }
    }
    task.event = &event;
    return enqueue_held(task);
}

aclError Stream::take(Event& event, int32_t timeout_ms) {
    Task task{TaskKind::take};
    task.event = &event;
    task.timeout_ms = timeout_ms;
    return enqueue_held(task);
}

aclError Stream::reset(Event& event) {
    if (!event.external()) {
        return ACL_SUCCESS;  // a record is numbered, so a later wait already means the later record
    }
    Task task{TaskKind::reset};
    task.event = &event;
    return enqueue_held(task);
}

void Stream::update_begin(TaskGroup& group) {
    const std::lock_guard lock(mutex_);
    update_ = &group;
    updated_ = 0;
}

aclError Stream::update_end() {
    const std::lock_guard lock(mutex_);
    if (update_ == nullptr) {
        return fail(ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED, "aclmdlRICaptureTaskUpdateEnd without a begin");
    }
    const size_t missing = update_->count - updated_;
    update_ = nullptr;
    return missing == 0
               ? ACL_SUCCESS
               : fail(ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED, "an update of a task group lacks %zu tasks", missing);
}

bool Stream::idle() const {
    const std::lock_guard lock(mutex_);
    return completed_ == enqueued_ && device_.device().now_ns() >= end_ns_;
}

aclError Stream::finish(std::unique_lock<std::mutex>& lock, int32_t timeout_ms) {
    const uint64_t target = enqueued_;
    const auto over = [&] { return completed_ >= target; };
    ++waiters_;
    bool in_time = true;
    if (timeout_ms < 0) {
        done_.wait(lock, over);
    } else {
        in_time = done_.wait_for(lock, std::chrono::milliseconds(timeout_ms), over);
    }
    --waiters_;
    return in_time ? ACL_SUCCESS
                   : fail(ACL_ERROR_RT_STREAM_SYNC_TIMEOUT, "stream %u not finished after %d ms", id_, timeout_ms);
}

aclError Stream::finish(int32_t timeout_ms) {
    std::unique_lock lock(mutex_);
    return finish(lock, timeout_ms);
}

void Stream::abort(aclError error) {
    const std::lock_guard lock(mutex_);
    abort_error_ = error;
    abort_before_.store(enqueued_, std::memory_order_relaxed);
}

aclError Stream::synchronize(int32_t timeout_ms) {
    std::unique_lock lock(mutex_);
    if (const aclError late = finish(lock, timeout_ms); late != ACL_SUCCESS) {
        return late;
    }
    const aclError error = std::exchange(error_, ACL_SUCCESS);
    const std::string text = std::exchange(error_text_, {});
    lock.unlock();
    device_.wait_until(end_ns_);
    return error == ACL_SUCCESS ? ACL_SUCCESS : fail(error, "%s", text.c_str());
}

void Stream::work() {
    Lane lane(device_.device());
    std::vector<Task> batch;
    std::unique_lock lock(mutex_);
    for (;;) {
        sleeping_ = true;
        work_.wait(lock, [&] { return !queue_.empty() || stopping_; });
        sleeping_ = false;
        if (queue_.empty()) {
            return;
        }
        batch.swap(queue_);
        lock.unlock();
        bool dropped = false;
        uint64_t before = completed_;  // written here alone
        for (Task& task : batch) {
            if (before++ < abort_before_.load(std::memory_order_relaxed)) {
                drop(task);
                dropped = true;
            } else {
                run(task, lane);
            }
        }
        lock.lock();
        completed_ += batch.size();
        if (dropped && abort_error_ != ACL_SUCCESS) {
            note_error_locked(abort_error_, "the tasks of stream " + std::to_string(id_) + " were aborted");
        }
        batch.clear();
        if (waiters_ > 0) {
            done_.notify_all();
        }
    }
}

void Stream::run(Task& task, Lane& lane) {
    if (task.kind == TaskKind::graph) {
        task.graph->replay([&](const Task& node) {
            Task now = node;
            now.enqueued_ns = task.enqueued_ns;
            now.launched_ns = task.launched_ns;
            now.thread = task.thread;
            carry_out_observed(now, lane);
        });
        task.graph->release();
        return;
    }
    carry_out_observed(task, lane);
    hand_back(task);
}

void Stream::drop(const Task& task) {
    if (task.kind == TaskKind::graph) {
        task.graph->release();
    } else if (task.kind == TaskKind::record) {
        task.event->complete(task.number, device_.device().now_ns());  // nobody else would
    }
    hand_back(task);
}

namespace {

const char* type_of(const Task& task) {
    switch (task.kind) {
        case TaskKind::kernel:
            if (task.kernel->meet != nullptr) {
                return "COMMUNICATION";
            }
            return task.args.cost.unit == Unit::cube  ? "AI_CORE"
                   : task.args.cost.unit == Unit::mix ? "MIX_AIC"
                                                      : "AI_VECTOR_CORE";
        case TaskKind::copy:
            return "MEMCPY_ASYNC";
        case TaskKind::fill:
            return "MEMSET_ASYNC";
        case TaskKind::prefetch:
            return "CMO";
        case TaskKind::record:
            return "EVENT_RECORD";
        case TaskKind::wait:
        case TaskKind::await:
        case TaskKind::take:
            return "EVENT_WAIT";
        case TaskKind::reset:
            return "EVENT_RESET";
        case TaskKind::host:
        case TaskKind::mark:
            return "HOST_FUNC";
        case TaskKind::graph:
            break;  // its nodes are noted
    }
    return "GRAPH";
}

}  // namespace

// What was launched while a profiler listened is noted with the times at which it took place.
void Stream::carry_out_observed(const Task& task, Lane& lane) {
    const Interval span = carry_out(task, lane);
    if (task.launched_ns == 0) {
        return;
    }
    const char* const type = type_of(task);
    const int64_t started = raw_ns(span.start_ns);
    Profile::get().note({task.kind == TaskKind::kernel ? task.kernel->name : type, type, device_.index(), id_,
                         task.blocks, task.thread, task.launched_ns, started, raw_ns(span.end_ns),
                         span.end_ns - span.start_ns});
}

// Of a profile. What comes later on the device is never told to be earlier, though the two clocks drift.
int64_t Stream::raw_ns(int64_t device_ns) {
    told_ns_ = std::max(told_ns_, device_.device().wall_ns(device_ns) + raw_ahead_ns());
    return told_ns_;
}

Interval Stream::carry_out(const Task& task, Lane& lane) {
    const int64_t ready = std::max({task.enqueued_ns, floor_ns_, lane.horizon_ns()});
    Interval span{ready, ready};
    switch (task.kind) {
        case TaskKind::kernel:
            span = run_kernel(task, lane);
            break;
        case TaskKind::copy:
            span = run_copy(task, lane);
            break;
        case TaskKind::fill:
            carry_out_fill(task.destination, task.value, task.bytes, device_.device());
            span = lane.run(fill_cost(task.bytes), 0, std::max(task.enqueued_ns, floor_ns_));
            break;
        case TaskKind::prefetch: {
            const Touched wanted{reinterpret_cast<uint64_t>(task.source), task.bytes};
            span = lane.run(fill_cost(task.bytes), 0, std::max(task.enqueued_ns, floor_ns_), {&wanted, 1});
            break;
        }
        case TaskKind::record:
            task.event->complete(task.number, ready);
            break;
        case TaskKind::wait:
            span.end_ns = std::max(ready, waited(task, task.event->wait(task.number, task.timeout_ms)));
            break;
        case TaskKind::await:
            span.end_ns = std::max(ready, waited(task, task.event->await(task.timeout_ms)));
            break;
        case TaskKind::take:
            span.end_ns = std::max(ready, waited(task, task.event->take(task.timeout_ms)));
            break;
        case TaskKind::reset:
            task.event->reset();
            break;
        case TaskKind::host:
            device_.wait_until(lane.horizon_ns());  // a host function sees the work before it as done
            task.host(task.destination);
            break;
        case TaskKind::mark:
            task.mark(task.destination, raw_ns(ready));
            break;
        case TaskKind::graph:
            break;  // a graph holds no graphs
    }
    end_ns_.store(std::max(lane.horizon_ns(), floor_ns_));
    return span;
}

void hand_back(const Task& task) {
    if (task.kind == TaskKind::kernel) {
        task.kernel->drop(task.args.state);
    }
    if (task.event != nullptr) {
        task.event->release();
    }
}

Interval Stream::run_kernel(const Task& task, Lane& lane) {
    const auto failed = [&](aclError code, const char* error) {
        note_error(code, std::string(task.kernel->name) + " failed on stream " + std::to_string(id_) + ": " + error);
    };
    const bool skip_math = device_.device().skip_math();
    int64_t start = std::max(task.enqueued_ns, floor_ns_);
    char error[512] = "";
    if (task.kernel->meet != nullptr) {
        Turn turn{skip_math, device_.device().wall_ns(std::max(start, lane.horizon_ns())), {}};
        if (!task.kernel->meet(task.args.state, turn)) {
            failed(ACL_ERROR_RT_TASK_TIMEOUT, turn.error);  // as of a rank that others wait for in vain
        }
        start = std::max(start, device_.device().device_ns(turn.ready_ns));
    } else if (!skip_math && !task.kernel->execute(task.args.state, error, sizeof error)) {
        failed(ACL_ERROR_RT_AICORE_EXCEPTION, error);
    }
    std::array<Touched, kMostTouched> touched;
    const bool paced = device_.device().paced();  // the L2 is of no account otherwise
    const uint32_t count = paced && task.kernel->touched != nullptr
                               ? task.kernel->touched(task.args.state, touched.data(), touched.size())
                               : 0;
    return lane.run(task.args.cost, task.blocks, start, {touched.data(), count});
}

Interval Stream::run_copy(const Task& task, Lane& lane) {
    const Copy copy = plan_copy(task.destination, task.source, task.bytes);
    softnpu::carry_out(copy, device_.device());
    return lane.run(copy.cost, 0, std::max(task.enqueued_ns, floor_ns_));
}

// The device time at which a wait is over.
int64_t Stream::waited(const Task& task, std::optional<int64_t> until) {
    if (!until) {
        note_error(ACL_ERROR_RT_TASK_TIMEOUT, "stream " + std::to_string(id_) + " waited " +
                                                  std::to_string(task.timeout_ms) +
                                                  " ms for an event or notify that nobody recorded");
    }
    floor_ns_ = std::max(floor_ns_, until.value_or(floor_ns_));
    return floor_ns_;
}

void Stream::note_error(aclError code, const std::string& text) {
    const std::lock_guard lock(mutex_);
    note_error_locked(code, text);
}

void Stream::note_error_locked(aclError code, const std::string& text) {
    if (error_ == ACL_SUCCESS) {
        error_ = code;
        error_text_ = text;
    }
}

}  // namespace softnpu
