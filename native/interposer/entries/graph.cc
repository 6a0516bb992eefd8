// SPDX-License-Identifier: Apache-2.0
// Captured graphs. A replay is one launch. A graph keeps the block counts of its capture, whatever the quota is by
// then: the gate charges a replay for the cores it uses beyond the grant.
#include "entries/launch.h"
#include "entries/observe.h"

namespace flexnpu {
namespace {

// What is launched on the stream from now on is recorded. The gate's events stay outside: those due come before.
template <typename Call>
aclError capture(aclrtStream stream, Call real) {
    Gate::captures.fetch_add(1);
    here().gate.before_capture();
    const aclError status = real();
    if (status == ACL_SUCCESS) {
        tenant.graphs.begin(stream, static_cast<uint32_t>(here().quota.word()));
        observe_capture(1);
    } else {
        Gate::captures.fetch_sub(1);
    }
    return status;
}

aclError on_aclmdlRICaptureBegin(decltype(&::aclmdlRICaptureBegin) real, aclrtStream stream, aclmdlRICaptureMode mode) {
    return capture(stream, [=] { return real(stream, mode); });
}

aclError on_aclmdlRICaptureToModelRIBegin(decltype(&::aclmdlRICaptureToModelRIBegin) real, aclrtStream stream,
                                          aclmdlRI modelRI, aclmdlRICaptureMode mode) {
    return capture(stream, [=] { return real(stream, modelRI, mode); });
}

aclError on_aclmdlRICaptureEnd(decltype(&::aclmdlRICaptureEnd) real, aclrtStream stream, aclmdlRI* modelRI) {
    const aclError status = real(stream, modelRI);
    void* graph = status == ACL_SUCCESS && modelRI != nullptr ? *modelRI : nullptr;
    if (tenant.graphs.end(stream, graph, here_ordinal())) {
        Gate::captures.fetch_sub(1);
        observe_capture(-1);
    }
    return status;
}

template <int stream>
Launch replay_of(aclmdlRI graph, aclrtStream on) {
    observe_replay(graph);
    const uint32_t counts = tenant.graphs.replay(graph);
    const uint64_t key = launch_key(reinterpret_cast<uint64_t>(graph), counts);
    Launch launch = describe<stream>(FLEXNPU_LAUNCH_GRAPH, key, graph, on);
    launch.cores = flexnpu_quota_cube(counts);
    launch.grant_shift = of_cube_cores;
    return launch;
}

aclError on_aclmdlRIExecute(decltype(&::aclmdlRIExecute) real, aclmdlRI modelRI, int32_t timeout) {
    const Pass pass = here().gate.pass(replay_of<-1>(modelRI, nullptr));
    return real(modelRI, timeout);
}

aclError on_aclmdlRIExecuteAsync(decltype(&::aclmdlRIExecuteAsync) real, aclmdlRI modelRI, aclrtStream stream) {
    const Pass pass = here().gate.pass(replay_of<1>(modelRI, stream));
    return real(modelRI, stream);
}

aclError on_aclmdlRIDestroy(decltype(&::aclmdlRIDestroy) real, aclmdlRI modelRI) {
    if (modelRI != nullptr) tenant.graphs.destroyed(modelRI);
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
