// SPDX-License-Identifier: Apache-2.0
#include "meter.h"

#include <sys/prctl.h>

#include "clock.h"
#include "futex.h"
#include "gate.h"
#include "thread.h"

namespace flexnpu {
namespace {

constexpr uint64_t kLookNs = 20'000'000;

void follow_turn(Gate& gate) {
    const uint64_t turn = gate.turn();
    if (!gate.is_inside(turn)) return gate.end_turn();
    if ((turn & FLEXNPU_TURN_CONTENDED) == 0) return gate.sleep_in_turn(turn);
    if (gate.is_idle(turn)) gate.give_up_turn();
}

void* meter(void* argument) {
    prctl(PR_SET_TIMERSLACK, 1);  // of this thread: a turn ends when it ends
    Gate& gate = *static_cast<Gate*>(argument);
    for (;;) {
        const uint32_t bell = gate.meter_bell.load(std::memory_order_seq_cst);
        gate.settle_debts();
        if (gate.is_inside()) {
            follow_turn(gate);
            continue;
        }
        const timespec look = as_timespec(kLookNs);
        const bool orphaned = gate.is_orphaned();
        if (!futex_wait(reinterpret_cast<const uint32_t*>(&gate.meter_bell), bell, orphaned ? &look : nullptr)) {
            nap(1'000'000);
        }
        if (orphaned) gate.look_for_daemon();
    }
    return nullptr;
}

}  // namespace

bool start_meter(Gate* gate) { return start_thread(meter, gate); }

}  // namespace flexnpu
