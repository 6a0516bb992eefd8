// SPDX-License-Identifier: Apache-2.0
// From calls of operators and graphs to what the phase detector is fed with. Nothing here changes a call; what cannot
// be read is not fed.
#pragma once

#include "entries/stubs.h"
#include "flexnpu/page.h"
#include "table.h"

namespace flexnpu {

// What an operator tells: one byte per operator, looked up in both phases.
enum class Tells : uint8_t { nothing, attention, product, begin };
extern const Tells operator_tells[operator_count];

// At attach: `declared` is the control page's phase.
void start_observing(const flexnpu_control_page* control);
void stop_observing_in_child();

// Phase one of an operator that tells something has succeeded; its arguments are still there.
void observe_tiled(const flexnpu_phase_one& call, uint64_t executor);
// By what it may be known: as a hit, by its executor or, where phase one did not tell which that is, by its name, the
// key that observe_tiled() was given.
struct Launched {
    uint64_t executor, hit, name;
};
void observe_launch(uint32_t op, const Launched& launched, aclrtStream stream);

// torch_npu's executor cache. The key under which this thread's next phase one is kept (0: it is not), and an executor
// that was found under a key: it will do what that phase one said. Gives what its launch will be told as `hit`, 0 where
// that phase one told nothing; who cannot tell it then has it kept.
void observe_key(uint64_t key);
uint64_t observed_hit(uint64_t key, aclOpExecutor* executor);
void keep_hit(uint64_t executor, uint64_t hit);

void observe_capture(int change);  // captures under way: +1, -1
void observe_replay(aclmdlRI graph);
void observe_destroyed(aclmdlRI graph);
void observe_group(aclrtStream stream, aclrtTaskGrp group);
void observe_update_begin(aclrtStream stream, aclrtTaskGrp group);
void observe_update_end(aclrtStream stream);

}  // namespace flexnpu
