// SPDX-License-Identifier: Apache-2.0
// Streams, events and graphs over the time line.
#include <time.h>

#include <atomic>

#include "nullacl.h"
#include "timeline.h"

namespace {

struct NullEvent {
    std::atomic<int64_t> end_ns{-1};
};

void misuse() { __atomic_add_fetch(&null_record()->misused, 1, __ATOMIC_RELAXED); }

// What every call about an event or a stream needs.
bool usable(void* stream) {
    aclrtContext context = nullptr;
    if (aclrtGetCurrentContext(&context) == ACL_SUCCESS && !null_stream(stream)->destroyed) return true;
    misuse();
    return false;
}

void sleep_until(int64_t end_ns) {
    const timespec end{end_ns / 1'000'000'000, end_ns % 1'000'000'000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr) != 0) {
    }
}

}  // namespace

extern "C" {

aclError aclrtSynchronizeDevice() {
    if (!usable(nullptr)) return ACL_ERROR_RT_CONTEXT_NULL;
    sleep_until(null_end_ns());
    return ACL_SUCCESS;
}

aclError aclrtCreateStream(aclrtStream* stream) {
    *stream = new NullStream;
    return ACL_SUCCESS;
}
// The memory stays: whoever uses the stream afterwards is found out.
aclError aclrtDestroyStream(aclrtStream stream) {
    null_stream(stream)->destroyed = true;
    return ACL_SUCCESS;
}
aclError aclrtSynchronizeStream(aclrtStream stream) {
    sleep_until(null_stream(stream)->end_ns);
    return ACL_SUCCESS;
}

aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t) {
    if (!usable(nullptr)) return ACL_ERROR_RT_CONTEXT_NULL;
    *event = new NullEvent;
    return ACL_SUCCESS;
}
aclError aclrtDestroyEvent(aclrtEvent event) {
    delete static_cast<NullEvent*>(event);
    return ACL_SUCCESS;
}
aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) {
    if (!usable(stream)) return ACL_ERROR_RT_CONTEXT_NULL;
    const NullStream* queue = null_stream(stream);
    if (queue->capturing != nullptr) {
        __atomic_add_fetch(&null_record()->captured, 1, __ATOMIC_RELAXED);
        return ACL_SUCCESS;
    }
    __atomic_add_fetch(&null_record()->records, 1, __ATOMIC_RELAXED);
    const int64_t now = null_now_ns();
    static_cast<NullEvent*>(event)->end_ns = queue->end_ns > now ? queue->end_ns : now;
    return ACL_SUCCESS;
}
aclError aclrtQueryEventStatus(aclrtEvent event, aclrtEventRecordedStatus* status) {
    if (!usable(nullptr)) return ACL_ERROR_RT_CONTEXT_NULL;
    *status = static_cast<NullEvent*>(event)->end_ns <= null_now_ns() ? ACL_EVENT_RECORDED_STATUS_COMPLETE
                                                                      : ACL_EVENT_RECORDED_STATUS_NOT_READY;
    return ACL_SUCCESS;
}
aclError aclrtSynchronizeEvent(aclrtEvent event) {
    if (!usable(nullptr)) return ACL_ERROR_RT_CONTEXT_NULL;
    __atomic_add_fetch(&null_record()->waits, 1, __ATOMIC_RELAXED);
    sleep_until(static_cast<NullEvent*>(event)->end_ns);
    return ACL_SUCCESS;
}
aclError aclrtEventGetTimestamp(aclrtEvent event, uint64_t* timestamp) {
    if (!usable(nullptr)) return ACL_ERROR_RT_CONTEXT_NULL;
    *timestamp = static_cast<uint64_t>(static_cast<NullEvent*>(event)->end_ns / 1000);
    return ACL_SUCCESS;
}
aclError aclrtEventElapsedTime(float* ms, aclrtEvent start, aclrtEvent end) {
    if (!usable(nullptr)) return ACL_ERROR_RT_CONTEXT_NULL;
    const int64_t took = static_cast<NullEvent*>(end)->end_ns - static_cast<NullEvent*>(start)->end_ns;
    *ms = static_cast<float>(static_cast<double>(took) * 1e-6);
    return ACL_SUCCESS;
}

aclError aclmdlRICaptureBegin(aclrtStream stream, aclmdlRICaptureMode) {
    null_stream(stream)->capturing = new NullGraph;
    return ACL_SUCCESS;
}
aclError aclmdlRICaptureGetInfo(aclrtStream stream, aclmdlRICaptureStatus* status, aclmdlRI* modelRI) {
    NullGraph* graph = null_stream(stream)->capturing;
    *status = graph != nullptr ? ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE : ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    if (modelRI != nullptr) *modelRI = graph;
    return ACL_SUCCESS;
}
aclError aclmdlRICaptureEnd(aclrtStream stream, aclmdlRI* modelRI) {
    *modelRI = null_stream(stream)->capturing;
    null_stream(stream)->capturing = nullptr;
    return ACL_SUCCESS;
}
aclError aclmdlRIExecuteAsync(aclmdlRI modelRI, aclrtStream stream) {
    null_occupy(static_cast<NullGraph*>(modelRI)->takes_ns, stream);
    return ACL_SUCCESS;
}
aclError aclmdlRIExecute(aclmdlRI modelRI, int32_t) {
    null_occupy(static_cast<NullGraph*>(modelRI)->takes_ns, nullptr);
    return aclrtSynchronizeStream(nullptr);
}
aclError aclmdlRIDestroy(aclmdlRI modelRI) {
    delete static_cast<NullGraph*>(modelRI);
    return ACL_SUCCESS;
}
}
