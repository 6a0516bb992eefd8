// SPDX-License-Identifier: Apache-2.0
//
// Captured graphs: capture, replay, and task groups that change between replays.
#include <flexnpu_abi/acl_rt.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "bridge/check.h"
#include "runtime/graph.h"

using softnpu::fail;
using softnpu::Graph;
using softnpu::Process;
using softnpu::Task;
using softnpu::TaskGroup;
using softnpu::TaskKind;

namespace {

Graph* captured(softnpu::Stream& stream) { return stream.capture.load(); }

}  // namespace

// Declares `name`, the graph that `queue` is being captured into, or returns the error of there being none.
#define SOFTNPU_CAPTURE(name, queue)                                                                                   \
    Graph* const name = captured(*(queue));                                                                            \
    if ((name) == nullptr) {                                                                                           \
        return fail(ACL_ERROR_RT_STREAM_NOT_CAPTURED, "%s: stream %u is not being captured", __func__, (queue)->id()); \
    }

extern "C" {

aclError aclmdlRICaptureBegin(aclrtStream stream, aclmdlRICaptureMode /*mode*/) {
    SOFTNPU_NEED(stream);
    SOFTNPU_STREAM(queue, stream);
    if (captured(*queue) != nullptr) {
        return fail(ACL_ERROR_RT_STREAM_CAPTURED, "aclmdlRICaptureBegin: stream %u is being captured already",
                    queue->id());
    }
    softnpu::begin_capture(*queue);
    return ACL_SUCCESS;
}

aclError aclmdlRICaptureGetInfo(aclrtStream stream, aclmdlRICaptureStatus* status, aclmdlRI* modelRI) {
    SOFTNPU_STREAM(queue, stream);
    Graph* graph = captured(*queue);
    if (status != nullptr) {
        *status = graph != nullptr ? ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE : ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    }
    if (modelRI != nullptr) {
        *modelRI = graph;
    }
    return ACL_SUCCESS;
}

aclError aclmdlRICaptureEnd(aclrtStream stream, aclmdlRI* modelRI) {
    SOFTNPU_NEED(modelRI);
    SOFTNPU_STREAM(queue, stream);
    SOFTNPU_CAPTURE(graph, queue);
    softnpu::end_capture(*graph);
    *modelRI = graph;
    return ACL_SUCCESS;
}

// Which calls of other threads a capture forbids. Nothing here harms a capture, so that none is.
aclError aclmdlRICaptureThreadExchangeMode(aclmdlRICaptureMode* mode) {
    SOFTNPU_NEED(mode);
    thread_local aclmdlRICaptureMode own = ACL_MODEL_RI_CAPTURE_MODE_GLOBAL;
    std::swap(own, *mode);
    return ACL_SUCCESS;
}

aclError aclmdlRIExecuteAsync(aclmdlRI modelRI, aclrtStream stream) {
    SOFTNPU_NEED(modelRI);
    SOFTNPU_STREAM(queue, stream);
    auto* graph = static_cast<Graph*>(modelRI);
    Task task{TaskKind::graph};
    task.graph = graph;
    graph->retain();
    const aclError error = queue->enqueue(task);
    if (error != ACL_SUCCESS) {
        graph->release();
    }
    return error;
}

aclError aclmdlRIExecute(aclmdlRI modelRI, int32_t timeout) {
    const aclError error = aclmdlRIExecuteAsync(modelRI, nullptr);
    if (error != ACL_SUCCESS) {
        return error;
    }
    return Process::get().resolve(nullptr)->synchronize(timeout);
}

aclError aclmdlRIDestroy(aclmdlRI modelRI) {
    SOFTNPU_NEED(modelRI);
    static_cast<Graph*>(modelRI)->release();
    return ACL_SUCCESS;
}

aclError aclmdlRIGetId(aclmdlRI modelRI, uint32_t* modelRIId) {
    SOFTNPU_NEED(modelRI);
    SOFTNPU_NEED(modelRIId);
    *modelRIId = static_cast<Graph*>(modelRI)->id();
    return ACL_SUCCESS;
}

aclError aclmdlRIDebugPrint(aclmdlRI modelRI) {
    SOFTNPU_NEED(modelRI);
    std::fputs(static_cast<Graph*>(modelRI)->describe().c_str(), stdout);
    return ACL_SUCCESS;
}

aclError aclmdlRIDebugJsonPrint(aclmdlRI modelRI, const char* path, uint32_t /*flags*/) {
    SOFTNPU_NEED(modelRI);
    SOFTNPU_NEED(path);
    std::FILE* file = std::fopen(path, "w");
    if (file == nullptr) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "aclmdlRIDebugJsonPrint: %s cannot be written (%s)", path,
                    std::strerror(errno));
    }
    std::fputs(static_cast<Graph*>(modelRI)->describe().c_str(), file);
    std::fclose(file);
    return ACL_SUCCESS;
}

aclError aclmdlRICaptureTaskGrpBegin(aclrtStream stream) {
    SOFTNPU_STREAM(queue, stream);
    SOFTNPU_CAPTURE(graph, queue);
    graph->begin_group();
    return ACL_SUCCESS;
}

aclError aclmdlRICaptureTaskGrpEnd(aclrtStream stream, aclrtTaskGrp* handle) {
    SOFTNPU_NEED(handle);
    SOFTNPU_STREAM(queue, stream);
    SOFTNPU_CAPTURE(graph, queue);
    TaskGroup* group = nullptr;
    const aclError error = graph->end_group(&group);
    *handle = group;
    return error;
}

aclError aclmdlRICaptureTaskUpdateBegin(aclrtStream stream, aclrtTaskGrp handle) {
    SOFTNPU_NEED(handle);
    SOFTNPU_STREAM(queue, stream);
    queue->update_begin(*static_cast<TaskGroup*>(handle));
    return ACL_SUCCESS;
}

aclError aclmdlRICaptureTaskUpdateEnd(aclrtStream stream) {
    SOFTNPU_STREAM(queue, stream);
    return queue->update_end();
}

}  // extern "C"
