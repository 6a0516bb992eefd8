// SPDX-License-Identifier: Apache-2.0
//
// Streams, events, callbacks.
#include <flexnpu_abi/acl_rt.h>
#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>

#include "bridge/check.h"
#include "runtime/event.h"

using softnpu::DeviceState;
using softnpu::Event;
using softnpu::fail;
using softnpu::Process;
using softnpu::Stream;
using softnpu::Task;
using softnpu::TaskKind;

namespace {

// A callback of aclrtLaunchCallback on its way to the thread that asked for reports.
struct Report {
    aclrtCallback function;
    void* argument;
    Event over;
};

class ReportQueue {
  public:
    void push(std::shared_ptr<Report> report) {
        const std::lock_guard lock(mutex_);
        reports_.push_back(std::move(report));
        some_.notify_one();
    }
    std::shared_ptr<Report> pop(int32_t timeout_ms) {
        std::unique_lock lock(mutex_);
        const auto ready = [&] { return !reports_.empty(); };
        if (timeout_ms < 0) {
            some_.wait(lock, ready);
        } else if (!some_.wait_for(lock, std::chrono::milliseconds(timeout_ms), ready)) {
            return nullptr;
        }
        auto report = std::move(reports_.front());
        reports_.pop_front();
        return report;
    }

  private:
    std::mutex mutex_;
    std::condition_variable some_;
    std::deque<std::shared_ptr<Report>> reports_;
};

ReportQueue& reports_of(uint64_t thread) {
    static auto* mutex = new std::mutex();
    static auto* queues = new std::map<uint64_t, ReportQueue>();
    const std::lock_guard lock(*mutex);
    return (*queues)[thread];
}

struct Callback {
    std::shared_ptr<Report> report;
    uint64_t thread;
    bool block;
};

void deliver(void* argument) {
    const std::unique_ptr<Callback> callback(static_cast<Callback*>(argument));
    const uint64_t number = callback->report->over.expect();
    reports_of(callback->thread).push(callback->report);
    if (callback->block) {
        callback->report->over.wait(number);
    }
}

aclError make_event(aclrtEvent* event, uint32_t flags = 0) {
    SOFTNPU_NEED(event);
    if ((flags & ACL_EVENT_IPC) == 0) {
        *event = new Event((flags & ACL_EVENT_EXTERNAL) != 0);
        return ACL_SUCCESS;
    }
    *event = Event::make_shared(Process::get().event_pages(), (flags & ACL_EVENT_EXTERNAL) != 0);
    return *event != nullptr ? ACL_SUCCESS
                             : fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "the host has no memory for a shared event");
}

}  // namespace

extern "C" {

aclError aclrtCreateStreamWithConfig(aclrtStream* stream, uint32_t /*priority*/, uint32_t /*flag*/) {
    SOFTNPU_NEED(stream);
    SOFTNPU_CURRENT(state);
    *stream = state->create_stream();
    return ACL_SUCCESS;
}

aclError aclrtCreateStream(aclrtStream* stream) { return aclrtCreateStreamWithConfig(stream, 0, 0); }

aclError aclrtDestroyStream(aclrtStream stream) {
    SOFTNPU_NEED(stream);
    SOFTNPU_CURRENT(state);
    return state->destroy_stream(static_cast<Stream*>(stream))
               ? ACL_SUCCESS
               : fail(ACL_ERROR_RT_STREAM_CONTEXT, "aclrtDestroyStream: %p is not a stream of device %u", stream,
                      state->index());
}

aclError aclrtDestroyStreamForce(aclrtStream stream) { return aclrtDestroyStream(stream); }

aclError aclrtStreamAbort(aclrtStream stream) {
    SOFTNPU_NEED(stream);
    SOFTNPU_STREAM(queue, stream);
    queue->abort(ACL_SUCCESS);
    return queue->finish(-1);
}

aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout) {
    SOFTNPU_STREAM(queue, stream);
    return queue->synchronize(timeout);
}

aclError aclrtSynchronizeStream(aclrtStream stream) { return aclrtSynchronizeStreamWithTimeout(stream, -1); }

aclError aclrtStreamQuery(aclrtStream stream, aclrtStreamStatus* status) {
    SOFTNPU_NEED(status);
    SOFTNPU_STREAM(queue, stream);
    *status = queue->idle() ? ACL_STREAM_STATUS_COMPLETE : ACL_STREAM_STATUS_NOT_READY;
    return ACL_SUCCESS;
}

aclError aclrtStreamGetId(aclrtStream stream, int32_t* streamId) {
    SOFTNPU_NEED(streamId);
    SOFTNPU_STREAM(queue, stream);
    *streamId = static_cast<int32_t>(queue->id());
    return ACL_SUCCESS;
}

// A failed task is reported at the next synchronisation whatever the mode, and what follows it still runs.
aclError aclrtSetStreamFailureMode(aclrtStream /*stream*/, uint64_t /*mode*/) { return ACL_SUCCESS; }

aclError aclrtCreateEventWithFlag(aclrtEvent* event, uint32_t flag) { return make_event(event, flag); }

aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t flag) { return make_event(event, flag); }

aclError aclrtCreateEvent(aclrtEvent* event) { return make_event(event); }

aclError aclrtDestroyEvent(aclrtEvent event) {
    SOFTNPU_NEED(event);
    static_cast<Event*>(event)->release();
    return ACL_SUCCESS;
}

aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) {
    SOFTNPU_NEED(event);
    SOFTNPU_STREAM(queue, stream);
    return queue->record(*static_cast<Event*>(event));
}

// ms; <= 0: as long as aclrtSetOpWaitTimeout says.
aclError aclrtStreamWaitEventWithTimeout(aclrtStream stream, aclrtEvent event, int32_t timeout) {
    SOFTNPU_NEED(event);
    SOFTNPU_STREAM(queue, stream);
    return queue->wait_for(*static_cast<Event*>(event), timeout > 0 ? timeout : Process::get().wait_timeout_ms.load());
}

aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event) {
    return aclrtStreamWaitEventWithTimeout(stream, event, 0);
}

aclError aclrtResetEvent(aclrtEvent event, aclrtStream stream) {
    SOFTNPU_NEED(event);
    SOFTNPU_STREAM(queue, stream);
    return queue->reset(*static_cast<Event*>(event));
}

aclError aclrtSynchronizeEventWithTimeout(aclrtEvent event, int32_t timeout) {
    SOFTNPU_NEED(event);
    SOFTNPU_CURRENT(state);
    auto* given = static_cast<Event*>(event);
    const auto device_ns = given->wait(given->newest(), timeout);
    if (!device_ns) {
        return fail(ACL_ERROR_RT_EVENT_SYNC_TIMEOUT, "event not recorded after %d ms", timeout);
    }
    state->wait_until(*device_ns);
    return ACL_SUCCESS;
}

aclError aclrtSynchronizeEvent(aclrtEvent event) { return aclrtSynchronizeEventWithTimeout(event, -1); }

aclError aclrtQueryEventStatus(aclrtEvent event, aclrtEventRecordedStatus* status) {
    SOFTNPU_NEED(event);
    SOFTNPU_NEED(status);
    SOFTNPU_CURRENT(state);
    auto* given = static_cast<Event*>(event);
    int64_t device_ns = 0;
    const bool over = given->is_complete(given->newest(), &device_ns) && state->device().now_ns() >= device_ns;
    *status = over ? ACL_EVENT_RECORDED_STATUS_COMPLETE : ACL_EVENT_RECORDED_STATUS_NOT_READY;
    return ACL_SUCCESS;
}

aclError aclrtQueryEventWaitStatus(aclrtEvent event, aclrtEventWaitStatus* status) {
    SOFTNPU_NEED(status);
    aclrtEventRecordedStatus recorded = ACL_EVENT_RECORDED_STATUS_NOT_READY;
    const aclError error = aclrtQueryEventStatus(event, &recorded);
    *status = recorded == ACL_EVENT_RECORDED_STATUS_COMPLETE ? ACL_EVENT_WAIT_STATUS_COMPLETE
                                                             : ACL_EVENT_WAIT_STATUS_NOT_READY;
    return error;
}

aclError aclrtEventElapsedTime(float* ms, aclrtEvent startEvent, aclrtEvent endEvent) {
    SOFTNPU_NEED(ms);
    SOFTNPU_NEED(startEvent);
    SOFTNPU_NEED(endEvent);
    auto* from = static_cast<Event*>(startEvent);
    auto* to = static_cast<Event*>(endEvent);
    if (from->newest() == 0 || to->newest() == 0) {
        return fail(ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID, "aclrtEventElapsedTime: an event was never recorded");
    }
    *ms = static_cast<float>(static_cast<double>(*to->wait(to->newest()) - *from->wait(from->newest())) * 1e-6);
    return ACL_SUCCESS;
}

aclError aclrtEventGetTimestamp(aclrtEvent event, uint64_t* timestamp) {
    SOFTNPU_NEED(event);
    SOFTNPU_NEED(timestamp);
    auto* given = static_cast<Event*>(event);
    *timestamp = static_cast<uint64_t>(*given->wait(given->newest()) / 1000);  // us
    return ACL_SUCCESS;
}

aclError aclrtLaunchHostFunc(aclrtStream stream, aclrtHostFunc fn, void* args) {
    SOFTNPU_NEED(fn);
    SOFTNPU_STREAM(queue, stream);
    Task task{TaskKind::host};
    task.host = fn;
    task.destination = args;
    return queue->enqueue(task);
}

aclError aclrtSubscribeReport(uint64_t threadId, aclrtStream stream) {
    SOFTNPU_STREAM(queue, stream);
    queue->report_thread.store(threadId);
    return ACL_SUCCESS;
}

aclError aclrtUnSubscribeReport(uint64_t /*threadId*/, aclrtStream stream) {
    SOFTNPU_STREAM(queue, stream);
    queue->report_thread.store(0);
    return ACL_SUCCESS;
}

aclError aclrtLaunchCallback(aclrtCallback fn, void* userData, aclrtCallbackBlockType blockType, aclrtStream stream) {
    SOFTNPU_NEED(fn);
    SOFTNPU_STREAM(queue, stream);
    const uint64_t thread = queue->report_thread.load();
    if (thread == 0) {
        return fail(ACL_ERROR_RT_STREAM_NO_CB_REG, "aclrtLaunchCallback: no thread subscribed to stream %u",
                    queue->id());
    }
    auto report = std::make_shared<Report>();
    report->function = fn;
    report->argument = userData;
    Task task{TaskKind::host};
    task.host = deliver;
    auto callback = std::make_unique<Callback>(std::move(report), thread, blockType == ACL_CALLBACK_BLOCK);
    task.destination = callback.get();
    const aclError error = queue->enqueue(task);
    if (error == ACL_SUCCESS) {
        callback.release();  // deliver() owns it
    }
    return error;
}

aclError aclrtProcessReport(int32_t timeout) {
    const auto report = reports_of(static_cast<uint64_t>(pthread_self())).pop(timeout);
    if (report == nullptr) {
        return ACL_ERROR_RT_REPORT_TIMEOUT;
    }
    report->function(report->argument);
    report->over.complete(report->over.newest(), 0);
    return ACL_SUCCESS;
}

}  // extern "C"
