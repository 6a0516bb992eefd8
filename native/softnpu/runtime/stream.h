// SPDX-License-Identifier: Apache-2.0
//
// An in-order queue of device work: one worker thread, one lane of device time.
// Lock order: Stream::mutex_ before nothing else; the worker runs tasks without it.
#pragma once

#include <flexnpu_abi/acl_types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "device/device.h"
#include "runtime/kernel.h"

namespace softnpu {

class DeviceState;
class Event;
class Graph;
struct TaskGroup;

// await, take and reset: of an external event, which is a flag that records set.
enum class TaskKind : uint8_t { kernel, copy, fill, prefetch, record, wait, host, await, take, reset, mark, graph };

// One entry of the queue. Plain data, so that enqueuing allocates nothing once the queue has grown.
struct Task {
    TaskKind kind;
    uint32_t blocks = 0;
    int64_t enqueued_ns = 0;
    int64_t launched_ns = 0;  // when and by whom, for a profiler; 0: none listens
    uint32_t thread = 0;
    const Kernel* kernel = nullptr;
    KernelArgs args{};
    void* destination = nullptr;
    const void* source = nullptr;
    uint64_t bytes = 0;
    int32_t value = 0;
    Event* event = nullptr;
    uint64_t number = 0;
    int32_t timeout_ms = -1;  // of a wait; < 0: none
    void (*host)(void*) = nullptr;
    void (*mark)(void*, int64_t raw_ns) = nullptr;  // of a profile: when the device came to it
    Graph* graph = nullptr;
};

// Gives back what a task holds: its operator's state, its event.
void hand_back(const Task& task);

class Stream {
  public:
    Stream(DeviceState& device, uint32_t id);
    ~Stream() { close(); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    // Finishes what is queued and ends the worker. The object stays: a program that uses a stream after it destroyed
    // it gets an error.
    void close();

    // All fail with ACL_ERROR_RT_STREAM_CONTEXT on a closed stream.
    aclError enqueue(Task task);
    aclError record(Event& event);
    aclError wait_for(Event& event, int32_t timeout_ms = -1);
    aclError take(Event& event, int32_t timeout_ms);
    aclError reset(Event& event);

    // Between the two, what is enqueued takes the place of a captured group's tasks.
    void update_begin(TaskGroup& group);
    aclError update_end();

    // The graph that takes what is enqueued; nullptr: it runs.
    std::atomic<Graph*> capture{nullptr};

    bool idle() const;
    // Waits until all that was queued before is over in device time. timeout_ms < 0: for ever.
    aclError synchronize(int32_t timeout_ms);
    // As synchronize, but without asking for errors or device time.
    aclError finish(int32_t timeout_ms);
    // What is queued is not begun any more; the task that runs is finished. Events that were to be recorded count as
    // recorded, so that no other stream waits for them. Where something is dropped and `error` is one, the next
    // synchronisation returns it.
    void abort(aclError error);

    uint32_t id() const { return id_; }
    DeviceState& device() const { return device_; }

    // The core limit that a program set on this stream; 0 when none.
    std::atomic<uint32_t> cube_limit{0};
    std::atomic<uint32_t> vector_limit{0};
    std::atomic<uint64_t> report_thread{0};

  private:
    void work();
    void run(Task& task, Lane& lane);
    void drop(const Task& task);
    aclError finish(std::unique_lock<std::mutex>& lock, int32_t timeout_ms);
    void note_error_locked(aclError code, const std::string& text);
    Interval carry_out(const Task& task, Lane& lane);
    void carry_out_observed(const Task& task, Lane& lane);
    aclError enqueue_held(const Task& task);
    Interval run_kernel(const Task& task, Lane& lane);
    Interval run_copy(const Task& task, Lane& lane);
    void note_error(aclError code, const std::string& text);
    int64_t raw_ns(int64_t device_ns);
    int64_t waited(const Task& task, std::optional<int64_t> until);

    DeviceState& device_;
    const uint32_t id_;
    int64_t floor_ns_ = 0;  // device time of the last event waited for; worker only
    int64_t told_ns_ = 0;   // to a profile, last; worker only

    mutable std::mutex mutex_;
    std::condition_variable work_;
    mutable std::condition_variable done_;
    std::vector<Task> queue_;
    uint64_t enqueued_ = 0;
    uint64_t completed_ = 0;
    std::atomic<uint64_t> abort_before_{0};  // of all tasks ever queued, so many are not to be begun any more
    aclError abort_error_ = ACL_SUCCESS;     // what to say when one of them was dropped
    uint32_t waiters_ = 0;
    bool sleeping_ = false;
    bool stopping_ = false;
    TaskGroup* update_ = nullptr;
    size_t updated_ = 0;
    aclError error_ = ACL_SUCCESS;  // of the first task that failed and has not been reported
    std::string error_text_;
    std::atomic<int64_t> end_ns_{0};
    std::thread worker_;
};

}  // namespace softnpu
