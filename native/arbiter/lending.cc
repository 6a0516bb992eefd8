// SPDX-License-Identifier: Apache-2.0
#include "arbiter/lending.h"

#include <algorithm>
#include <utility>

namespace flexnpu {
namespace {

constexpr int64_t kSampleNs = 4'000'000;
// Without a launch for so long, a vNPU is idle. Longer for one that was soon back the last time: a pause within its
// step is not worth a change of everybody's cores.
constexpr int64_t kPatienceNs = 20'000'000;
constexpr int64_t kMostPatienceNs = 640'000'000;
constexpr int64_t kSoonBackNs = 100'000'000;

bool could_borrow(const VNpu& vnpu) { return vnpu.quota.burst_cores > vnpu.quota.cores; }

// A vNPU that is to take turns shows its demand by waiting for one.
bool by_turns(const VNpu& vnpu) { return vnpu.view.granted.time_shared; }

void wake(VNpu& vnpu, int64_t now_ns) {
    vnpu.view.idle = false;
    vnpu.launched_ns = now_ns;
    const bool soon = now_ns - vnpu.idle_from_ns < kSoonBackNs;
    vnpu.patience_ns = soon ? std::min(2 * vnpu.patience_ns, kMostPatienceNs) : kPatienceNs;
    if (!by_turns(vnpu)) write_turn(vnpu, FLEXNPU_TURN_FREE);
}

void rest(VNpu& vnpu, Turns& turns, int64_t now_ns) {
    vnpu.view.idle = true;
    vnpu.view.launching = false;
    vnpu.idle_from_ns = now_ns;
    vnpu.rings = rings_of(vnpu);
    if (!by_turns(vnpu))
        write_turn(vnpu, flexnpu_pack_turn(turns.next_number(), FLEXNPU_TURN_OPEN | FLEXNPU_TURN_RING));
}

// Reads the reports; whether it has done anything since the last look.
bool stirs(VNpu& vnpu) {
    const uint64_t launches = std::exchange(vnpu.launches, launches_of(vnpu));
    if (by_turns(vnpu)) return has_demand(vnpu.turn);
    return launches != vnpu.launches || (vnpu.view.idle && vnpu.rings != rings_of(vnpu));
}

}  // namespace

int64_t Lending::step(const std::vector<VNpu*>& vnpus, Turns& turns, int64_t now_ns) {
    const bool anyone = std::any_of(vnpus.begin(), vnpus.end(), [](const VNpu* vnpu) { return could_borrow(*vnpu); });
    // After a pause nothing is known of what was launched in it.
    const bool fresh = now_ns - looked_ns_ > 4 * kSampleNs;
    bool watched = false;
    for (VNpu* vnpu : vnpus) {
        const bool stirred = stirs(*vnpu);
        if (vnpu->patience_ns == 0) vnpu->patience_ns = kPatienceNs;
        if (vnpu->view.idle && (stirred || !anyone)) wake(*vnpu, now_ns);
        vnpu->view.launching = vnpu->view.launching || stirred;
        if (stirred || (fresh && !vnpu->view.idle)) vnpu->launched_ns = now_ns;
        watched = watched || (could_borrow(*vnpu) && !vnpu->view.idle);
    }
    if (!watched) return 0;
    looked_ns_ = now_ns;
    for (VNpu* vnpu : vnpus) {
        if (!vnpu->view.idle && now_ns - vnpu->launched_ns >= vnpu->patience_ns) rest(*vnpu, turns, now_ns);
    }
    return kSampleNs;
}

}  // namespace flexnpu
