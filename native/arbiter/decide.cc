// SPDX-License-Identifier: Apache-2.0
#include "arbiter/decide.h"

#include <algorithm>

namespace flexnpu {
namespace {

// A tenant applies within an operator's time, so look often at first; one that hangs is not worth a busy core.
constexpr int64_t kSoonNs = 200'000;
constexpr int64_t kLaterNs = 10'000'000;
constexpr int64_t kPatienceNs = 1'000'000'000;

bool wants_change(const VNpuView& vnpu) { return vnpu.granted != vnpu.desired; }

int64_t look_again(const std::vector<VNpuView>& vnpus, int64_t now_ns) {
    int64_t soonest = 0;
    for (const VNpuView& vnpu : vnpus) {
        if (!wants_change(vnpu) && is_applied(vnpu)) continue;
        const int64_t wait = now_ns - vnpu.changed_ns < kPatienceNs ? kSoonNs : kLaterNs;
        soonest = soonest == 0 ? wait : std::min(soonest, wait);
    }
    return soonest;
}

}  // namespace

uint32_t held_cores(const VNpuView& vnpu) {
    uint32_t held = vnpu.granted.cores;
    if (vnpu.live_tenants == 0) return held;
    for (const Grant& grant : vnpu.older) {
        if (grant.revision >= vnpu.applied_revision) held = std::max(held, grant.cores);
    }
    return held;
}

bool is_applied(const VNpuView& vnpu) {
    return vnpu.live_tenants == 0 || vnpu.applied_revision >= vnpu.granted.revision;
}

Plan decide(const Snapshot& snapshot, int64_t now_ns) {
    Plan plan;
    // The state as it will be after the steps so far: later steps and look_again() see their effect.
    std::vector<VNpuView> vnpus = snapshot.vnpus;
    const auto grant = [&](size_t i) {
        VNpuView& vnpu = vnpus[i];
        vnpu.older.push_back(vnpu.granted);
        vnpu.granted = vnpu.desired;
        plan.steps.push_back({i, vnpu.desired});
    };

    for (size_t i = 0; i < vnpus.size(); ++i) {
        if (wants_change(vnpus[i]) && vnpus[i].desired.cores <= vnpus[i].granted.cores) grant(i);
    }
    uint64_t held = 0;
    for (const VNpuView& vnpu : vnpus) held += held_cores(vnpu);
    // The order among the growing ones does not matter for who is served in the end: the desired sum fits the device.
    for (size_t i = 0; i < vnpus.size(); ++i) {
        if (!wants_change(vnpus[i])) continue;
        const uint64_t before = held_cores(vnpus[i]);
        const uint64_t after = std::max<uint64_t>(before, vnpus[i].desired.cores);
        if (after > before && held - before + after > snapshot.device_cores) continue;
        held += after - before;
        grant(i);
    }
    plan.look_again_ns = look_again(vnpus, now_ns);
    return plan;
}

}  // namespace flexnpu
