// SPDX-License-Identifier: Apache-2.0
// Captured graphs. A replay is one launch. A graph keeps the block counts of its capture, whatever the quota is by
// then; that a replay runs with an older tiling is counted, since the promise of `applied` does not cover it.
#include "entries/observe.h"
#include "entries/wrap.h"

namespace flexnpu {
namespace {

constinit PointerMap captured_under;  // stream (while capturing) or graph, to the core counts

constexpr uint64_t kCounts = 0xffffffff;  // of the quota's word

uint64_t key(void* handle) { return reinterpret_cast<uint64_t>(handle); }

void begin(aclrtStream stream) {
    captured_under.put(key(stream), here().quota.word() & kCounts);
    observe_capture(1);
}

void count_replay(aclmdlRI graph) {
    observe_replay(graph);
    here().gate.pass(FLEXNPU_LAUNCH_GRAPH);
    const uint64_t under = captured_under.update(key(graph), [](uint64_t found, uint64_t) { return found; }, 0);
    if (under != 0 && under != (here().quota.word() & kCounts)) tenant.report.ungoverned();
}

aclError on_aclmdlRICaptureBegin(decltype(&::aclmdlRICaptureBegin) real, aclrtStream stream, aclmdlRICaptureMode mode) {
    const aclError status = real(stream, mode);
    if (status == ACL_SUCCESS) begin(stream);
    return status;
}

aclError on_aclmdlRICaptureToModelRIBegin(decltype(&::aclmdlRICaptureToModelRIBegin) real, aclrtStream stream,
                                          aclmdlRI modelRI, aclmdlRICaptureMode mode) {
    const aclError status = real(stream, modelRI, mode);
    if (status == ACL_SUCCESS) begin(stream);
    return status;
}

aclError on_aclmdlRICaptureEnd(decltype(&::aclmdlRICaptureEnd) real, aclrtStream stream, aclmdlRI* modelRI) {
    const uint64_t under = captured_under.take(key(stream));
    if (under != 0) observe_capture(-1);
    const aclError status = real(stream, modelRI);
    if (status == ACL_SUCCESS && under != 0 && modelRI != nullptr && *modelRI != nullptr) {
        captured_under.put(key(*modelRI), under);
    }
    return status;
}

aclError on_aclmdlRIExecute(decltype(&::aclmdlRIExecute) real, aclmdlRI modelRI, int32_t timeout) {
    count_replay(modelRI);
    return real(modelRI, timeout);
}

aclError on_aclmdlRIExecuteAsync(decltype(&::aclmdlRIExecuteAsync) real, aclmdlRI modelRI, aclrtStream stream) {
    count_replay(modelRI);
    return real(modelRI, stream);
}

aclError on_aclmdlRIDestroy(decltype(&::aclmdlRIDestroy) real, aclmdlRI modelRI) {
    if (modelRI != nullptr) captured_under.take(key(modelRI));
    observe_destroyed(modelRI);
    return real(modelRI);
}

// Tasks of a graph that a program changes between replays, as the lengths of its attention.
aclError on_aclmdlRICaptureTaskGrpEnd(decltype(&::aclmdlRICaptureTaskGrpEnd) real, aclrtStream stream,
                                      aclrtTaskGrp* handle) {
    const aclError status = real(stream, handle);
    if (status == ACL_SUCCESS && handle != nullptr) observe_group(stream, *handle);
    return status;
}

aclError on_aclmdlRICaptureTaskUpdateBegin(decltype(&::aclmdlRICaptureTaskUpdateBegin) real, aclrtStream stream,
                                           aclrtTaskGrp handle) {
    const aclError status = real(stream, handle);
    if (status == ACL_SUCCESS) observe_update_begin(stream, handle);
    return status;
}

aclError on_aclmdlRICaptureTaskUpdateEnd(decltype(&::aclmdlRICaptureTaskUpdateEnd) real, aclrtStream stream) {
    observe_update_end(stream);
    return real(stream);
}

}  // namespace

#define FLEXNPU_GRAPH(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_##name)
#include "functions.def"

}  // namespace flexnpu
