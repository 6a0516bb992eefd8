// SPDX-License-Identifier: Apache-2.0
//
// Marks and ranges of a program (mstx), which torch_npu looks up in libms_tools_ext.so. Each is noted for the thread
// that makes it; one that names a stream also for the device, at the time when the stream comes to it. Without a
// profiler they are dropped. Nobody here follows heaps and regions, so those registrations are taken and forgotten.
#include <flexnpu_abi/acl_rt.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "runtime/process.h"
#include "runtime/profile.h"
#include "runtime/stream.h"

#define SOFTNPU_EXPORT __attribute__((visibility("default")))

using softnpu::MarkRecord;
using softnpu::Process;
using softnpu::Profile;
using softnpu::Stream;
using softnpu::Task;
using softnpu::TaskKind;

struct mstxDomainRegistration_st {
    std::string name;
};

namespace {

using Domain = mstxDomainRegistration_st;

struct Range {
    MarkRecord host;
    aclrtStream stream;
    // When the stream came to the beginning; of the tasks that its two ends put on the stream.
    std::shared_ptr<std::atomic<int64_t>> device_started_ns;
};

// What the task at the end of a range, or at its beginning (`note` is false), takes along.
struct Arrival {
    MarkRecord device;
    std::shared_ptr<std::atomic<int64_t>> started_ns;
    bool note;
};

void arrive(void* argument, int64_t now) {
    const std::unique_ptr<Arrival> arrival(static_cast<Arrival*>(argument));
    if (!arrival->note) {
        arrival->started_ns->store(now);
        return;
    }
    arrival->device.started_ns = arrival->started_ns != nullptr ? arrival->started_ns->load() : now;
    arrival->device.ended_ns = now;
    Profile::get().note(arrival->device);
}

// A captured task would run at each replay, so nothing is put on a stream that captures.
void put(aclrtStream stream, const MarkRecord& host, std::shared_ptr<std::atomic<int64_t>> started_ns, bool note) {
    Stream* const queue = Process::get().resolve(stream);
    aclmdlRICaptureStatus capturing = ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    if (queue == nullptr || aclmdlRICaptureGetInfo(stream, &capturing, nullptr) != ACL_SUCCESS ||
        capturing != ACL_MODEL_RI_CAPTURE_STATUS_NONE) {
        return;
    }
    auto arrival = std::make_unique<Arrival>(Arrival{host, std::move(started_ns), note});
    arrival->device.row = queue->id();
    arrival->device.device = static_cast<int32_t>(queue->device().index());
    Task task{TaskKind::mark};
    task.mark = arrive;
    task.destination = arrival.get();
    if (queue->enqueue(task) == ACL_SUCCESS) {
        static_cast<void>(arrival.release());  // arrive() has it
    }
}

MarkRecord now_here(const Domain* domain, const char* message) {
    const int64_t now = softnpu::raw_now_ns();
    return {message, domain != nullptr ? domain->name : "default", now, now, softnpu::thread_number()};
}

void mark(const Domain* domain, const char* message, aclrtStream stream) {
    if (!Profile::on() || message == nullptr) {
        return;
    }
    const MarkRecord record = now_here(domain, message);
    Profile::get().note(record);
    if (stream != nullptr) {
        put(stream, record, nullptr, true);
    }
}

// The ranges that were begun and not ended.
class Ranges {
  public:
    static Ranges& get() {
        static auto* const ranges = new Ranges;
        return *ranges;
    }
    uint64_t begin(Range range) {
        const std::lock_guard lock(mutex_);
        open_.emplace(++last_, std::move(range));
        return last_;
    }
    // Empty for a number that begin() did not give, or that was ended.
    std::map<uint64_t, Range>::node_type end(uint64_t number) {
        const std::lock_guard lock(mutex_);
        return open_.extract(number);
    }

  private:
    std::mutex mutex_;
    std::map<uint64_t, Range> open_;
    uint64_t last_ = 0;
};

// 0 while nobody listens: that range is never noted.
uint64_t range_start(const Domain* domain, const char* message, aclrtStream stream) {
    if (!Profile::on() || message == nullptr) {
        return 0;
    }
    Range range{now_here(domain, message), stream, nullptr};
    if (stream != nullptr) {
        range.device_started_ns = std::make_shared<std::atomic<int64_t>>(0);
        put(stream, range.host, range.device_started_ns, false);
    }
    return Ranges::get().begin(std::move(range));
}

void range_end(uint64_t number) {
    const auto found = Ranges::get().end(number);
    if (found.empty()) {
        return;
    }
    Range& range = found.mapped();
    range.host.ended_ns = softnpu::raw_now_ns();
    Profile::get().note(range.host);
    if (range.stream != nullptr) {
        put(range.stream, range.host, range.device_started_ns, true);
    }
}

}  // namespace

extern "C" {

SOFTNPU_EXPORT void mstxMarkA(const char* message, aclrtStream stream) { mark(nullptr, message, stream); }
SOFTNPU_EXPORT uint64_t mstxRangeStartA(const char* message, aclrtStream stream) {
    return range_start(nullptr, message, stream);
}
SOFTNPU_EXPORT void mstxRangeEnd(uint64_t id) { range_end(id); }

SOFTNPU_EXPORT Domain* mstxDomainCreateA(const char* name) { return new Domain{name != nullptr ? name : ""}; }
SOFTNPU_EXPORT void mstxDomainDestroy(Domain* handle) { delete handle; }
SOFTNPU_EXPORT void mstxDomainMarkA(Domain* domain, const char* message, aclrtStream stream) {
    mark(domain, message, stream);
}
SOFTNPU_EXPORT uint64_t mstxDomainRangeStartA(Domain* domain, const char* message, aclrtStream stream) {
    return range_start(domain, message, stream);
}
SOFTNPU_EXPORT void mstxDomainRangeEnd(Domain* /*domain*/, uint64_t id) { range_end(id); }

SOFTNPU_EXPORT void* mstxMemHeapRegister(Domain* /*domain*/, const void* /*desc*/) { return nullptr; }
SOFTNPU_EXPORT void mstxMemHeapUnregister(Domain* /*domain*/, void* /*heap*/) {}
SOFTNPU_EXPORT void mstxMemRegionsRegister(Domain* /*domain*/, const void* /*desc*/) {}
SOFTNPU_EXPORT void mstxMemRegionsUnregister(Domain* /*domain*/, const void* /*desc*/) {}

}  // extern "C"
