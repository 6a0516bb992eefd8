// SPDX-License-Identifier: Apache-2.0
// The layer below AscendCL, for those who call it directly (the graph engine, HCCL, nnopbase's AICPU path), and the few
// public functions that take structures by value. The assembler keeps the parameters as they came and asks here twice:
// before the call where it goes, and after it, since one function of this layer may lie over another. Memory of this
// layer has known signatures and is in memory.cc.
#include "entries/stubs.h"
#include "entries/wrap.h"

namespace flexnpu {
namespace {

constexpr flexnpu_launch_kind kKinds[] = {
#define FLEXNPU_FORWARD(name, kind) FLEXNPU_LAUNCH_##kind,
#include "functions.def"
};

uint8_t& depth() { return depths[static_cast<size_t>(Guard::launch)]; }

int refuse_launch() { return kRefused; }
int miss_launch() { return ACL_ERROR_API_NOT_SUPPORT; }

flexnpu_answer go_on(void* address) { return {address, 0}; }

}  // namespace
}  // namespace flexnpu

// Gives where the call goes on, and whether flexnpu_forward_end is to be called after it. Below a launch that was
// counted already, nothing is counted.
extern "C" flexnpu_answer flexnpu_forward_begin(uint32_t index) {
    using namespace flexnpu;
    void* real = real_function(first_forward + index);
    if (real == nullptr) {
        tell_missing(first_forward + index);
        return go_on(reinterpret_cast<void*>(&miss_launch));
    }
    if (within(Guard::launch)) return go_on(real);
    if (!attached()) return go_on(reinterpret_cast<void*>(&refuse_launch));
    ++depth();
    if (kKinds[index] == FLEXNPU_LAUNCH_HOST) {
        here().gate.count(FLEXNPU_LAUNCH_HOST);
        return {real, 1};
    }
    Launch launch{};
    launch.kind = kKinds[index];
    launch.where = Launch::Where::unknown;
    launch.key = launch_key(index, 0);
    const Pass pass = here().gate.pass(launch);
    return {real, 1};
}

extern "C" void flexnpu_forward_end() { --flexnpu::depth(); }
