// SPDX-License-Identifier: Apache-2.0
#include "arbiter/decide.h"

#include <algorithm>

namespace flexnpu {
namespace {

using Views = std::vector<VNpuView>;

// A tenant rings when it has applied. A ring that is lost delays it by a part of the time that it has taken already,
// and a thousand tenants that sleep are not worth a busy core.
constexpr int64_t kSoonNs = 200'000;
constexpr int64_t kLaterNs = 10'000'000;
constexpr int64_t kPartOfAge = 4;

Cores most(Cores a, Cores b) { return {std::max(a.cube, b.cube), std::max(a.vector, b.vector)}; }
Cores least(Cores a, Cores b) { return {std::min(a.cube, b.cube), std::min(a.vector, b.vector)}; }
Cores sum(Cores a, Cores b) { return {a.cube + b.cube, a.vector + b.vector}; }
Cores less(Cores a, Cores b) { return {a.cube - std::min(a.cube, b.cube), a.vector - std::min(a.vector, b.vector)}; }
bool within(Cores a, Cores b) { return a.cube <= b.cube && a.vector <= b.vector; }

// What a vNPU holds for itself all the time, and what it holds only in its turns.
struct Held {
    Cores always, turns;
};

enum class Count { all, own };

// Work cut for an old turn is launched at any time once the gate stands open for good; and of what was cut while it
// stood open, some may have passed before it was closed.
Held held_by(const VNpuView& vnpu, Count what) {
    Held held;
    const auto count = [&](const Grant& grant) {
        Cores& part = grant.time_shared && vnpu.granted.time_shared ? held.turns : held.always;
        part = most(part, what == Count::own ? grant.own : grant.all());
    };
    count(vnpu.granted);
    if (vnpu.live_tenants == 0) return held;
    for (const Grant& grant : vnpu.older) {
        if (grant.number >= vnpu.applied) {
            count(grant);
        } else if (vnpu.clear != 0 && grant.number >= vnpu.clear && !grant.time_shared) {
            held.always = most(held.always, grant.own);
        }
    }
    return held;
}

bool wants_own(const VNpuView& vnpu) {
    return vnpu.granted.own != vnpu.desired.own || vnpu.granted.revision != vnpu.desired.revision ||
           vnpu.granted.time_shared != vnpu.desired.time_shared;
}

// Its cores may be lent: idle, and not about to change. (In its turns one may have more than its own without a loan.)
bool lends(const VNpuView& vnpu) {
    const bool borrows = vnpu.granted.lent != Cores{} && !vnpu.granted.time_shared;
    return vnpu.idle && is_applied(vnpu) && !wants_own(vnpu) && !borrows;
}

template <class Keep>
Cores total(const Views& vnpus, Count what, Keep keep) {
    Cores always, beyond;
    for (const VNpuView& vnpu : vnpus) {
        if (!keep(vnpu)) continue;
        const Held held = held_by(vnpu, what);
        always = sum(always, held.always);
        beyond = most(beyond, less(held.turns, held.always));
    }
    return sum(always, beyond);
}

// What may be in use now, and what is promised however that may be.
Cores in_use(const Views& vnpus) {
    return total(vnpus, Count::all, [](const VNpuView& vnpu) { return !lends(vnpu); });
}
Cores promised(const Views& vnpus) {
    return total(vnpus, Count::own, [](const VNpuView&) { return true; });
}

// --- lending ---

struct Borrower {
    std::vector<size_t> vnpus;  // one, or all that share the device in time
    Cores own;
    uint32_t burst = 0;
    uint32_t lent = 0;
    bool awake = false;
};

void join(Borrower& borrower, const VNpuView& vnpu, size_t at) {
    borrower.vnpus.push_back(at);
    borrower.own = most(borrower.own, vnpu.desired.own);
    borrower.awake = borrower.awake || !lends(vnpu);
    if (vnpu.launching && !vnpu.idle && vnpu.live_tenants > 0)
        borrower.burst = std::max(borrower.burst, vnpu.desired.burst);
}

// The time-shared ones count as one.
std::vector<Borrower> borrowers_of(const Views& vnpus) {
    std::vector<Borrower> found(1);
    for (size_t i = 0; i < vnpus.size(); ++i) {
        join(vnpus[i].desired.time_shared ? found.front() : found.emplace_back(), vnpus[i], i);
    }
    return found;
}

Cores with_vectors(uint32_t cube, Cores device) {
    return {cube, static_cast<uint32_t>(uint64_t{cube} * device.vector / device.cube)};
}

// One core after the other to whoever has been lent the least.
void deal(std::vector<Borrower>& borrowers, Cores device) {
    Cores taken;
    for (const Borrower& borrower : borrowers) taken = sum(taken, borrower.awake ? borrower.own : Cores{});
    for (Cores lent;;) {
        Borrower* next = nullptr;
        for (Borrower& borrower : borrowers) {
            if (borrower.own.cube + borrower.lent >= borrower.burst) continue;
            if (!next || borrower.lent < next->lent) next = &borrower;
        }
        if (!next) return;
        const uint32_t cube = lent.cube + 1;
        if (!within(sum(taken, with_vectors(cube, device)), device)) return;
        lent = with_vectors(cube, device);
        ++next->lent;
    }
}

// In its turn a time-shared one may have what the largest of them has, lent or not.
Cores loan(const Borrower& borrower, const VNpuView& vnpu, Cores device) {
    const Wanted& desired = vnpu.desired;
    const uint32_t reach = std::min(desired.burst, borrower.own.cube + borrower.lent);
    const Cores room = less(sum(borrower.own, with_vectors(borrower.lent, device)), desired.own);
    return least(with_vectors(reach - std::min(reach, desired.own.cube), device), room);
}

std::vector<Cores> lending(const Views& vnpus, Cores device) {
    std::vector<Cores> lent(vnpus.size());
    std::vector<Borrower> borrowers = borrowers_of(vnpus);
    deal(borrowers, device);
    for (const Borrower& borrower : borrowers) {
        for (const size_t i : borrower.vnpus) lent[i] = loan(borrower, vnpus[i], device);
    }
    return lent;
}

// --- steps ---

class Decision {
  public:
    explicit Decision(const Snapshot& snapshot)
        : device_(snapshot.device), vnpus_(snapshot.vnpus), lent_(lending(snapshot.vnpus, snapshot.device)) {}

    Plan make(int64_t now_ns) {
        for (size_t i = 0; i < vnpus_.size(); ++i) settle(i);
        // The order among the growing ones does not matter for who is served in the end: the desired sum fits.
        for (size_t i = 0; i < vnpus_.size(); ++i) grow(i, least(vnpus_[i].granted.lent, lent_[i]));
        for (size_t i = 0; i < vnpus_.size(); ++i) grow(i, lent_[i]);
        plan_.look_again_ns = look_again(now_ns);
        return std::move(plan_);
    }

  private:
    Grant wanted(size_t i, Cores lent) const {
        const Wanted& desired = vnpus_[i].desired;
        return {vnpus_[i].granted.number, desired.revision, desired.own, lent, desired.time_shared};
    }

    // What is given up is given up at once, even where something else has to wait: cores, and to launch at any time. So
    // two that part the device come to share it in time, each with its old cores first, and then all of them.
    void settle(size_t i) {
        const Grant whole = wanted(i, lent_[i]);
        if (whole == vnpus_[i].granted) return;
        if (raises_nothing(i, whole)) return grant(i, whole);
        Grant part = vnpus_[i].granted;
        if (!waits_to_part(i)) part.own = least(part.own, whole.own);
        part.lent = least(part.lent, whole.lent);
        part.time_shared = part.time_shared || whole.time_shared;
        grant(i, part);
    }

    // A part of the cores in a part of the time is the worst of both, and frees nothing for as long as others take
    // turns with as many: until they have shrunk, who goes before them keeps its own.
    bool waits_to_part(size_t i) const {
        return parts(vnpus_[i]) && std::any_of(vnpus_.begin(), vnpus_.end(), [&](const VNpuView& other) {
                   return other.priority < vnpus_[i].priority && parts(other) && !has_shrunk(other) &&
                          within(vnpus_[i].granted.own, held_by(other, Count::all).turns);
               });
    }

    static bool parts(const VNpuView& vnpu) {
        return vnpu.live_tenants > 0 && vnpu.granted.time_shared && !vnpu.desired.time_shared;
    }

    static bool has_shrunk(const VNpuView& vnpu) {
        return within(vnpu.granted.own, vnpu.desired.own) && is_applied(vnpu);
    }

    void grow(size_t i, Cores lent) {
        const Grant whole = wanted(i, lent);
        if (whole != vnpus_[i].granted && fits(i, whole)) grant(i, whole);
    }

    Views after(size_t i, const Grant& grant) const {
        Views vnpus = vnpus_;
        give(vnpus[i], grant);
        return vnpus;
    }

    bool raises_nothing(size_t i, const Grant& grant) const {
        const Views next = after(i, grant);
        return within(in_use(next), in_use(vnpus_)) && within(promised(next), promised(vnpus_));
    }

    bool fits(size_t i, const Grant& grant) const {
        const Views next = after(i, grant);
        return within(in_use(next), most(in_use(vnpus_), device_)) &&
               within(promised(next), most(promised(vnpus_), device_));
    }

    static void give(VNpuView& vnpu, const Grant& grant) {
        vnpu.older.push_back(vnpu.granted);
        vnpu.granted = grant;
        vnpu.granted.number += 1;
    }

    void grant(size_t i, const Grant& grant) {
        if (grant == vnpus_[i].granted) return;  // numbers left aside: `grant` has the present one
        give(vnpus_[i], grant);
        plan_.steps.push_back({i, vnpus_[i].granted});
    }

    int64_t look_again(int64_t now_ns) const {
        int64_t soonest = 0;
        for (size_t i = 0; i < vnpus_.size(); ++i) {
            const VNpuView& vnpu = vnpus_[i];
            if (!wants_own(vnpu) && vnpu.granted.lent == lent_[i] && is_applied(vnpu)) continue;
            const int64_t wait = std::clamp((now_ns - vnpu.changed_ns) / kPartOfAge, kSoonNs, kLaterNs);
            soonest = soonest == 0 ? wait : std::min(soonest, wait);
        }
        return soonest;
    }

    const Cores device_;
    Views vnpus_;  // as they will be after the steps so far
    const std::vector<Cores> lent_;
    Plan plan_;
};

}  // namespace

Cores held_cores(const VNpuView& vnpu) {
    const Held held = held_by(vnpu, Count::all);
    return most(held.always, held.turns);
}

Cores held_cores(const std::vector<VNpuView>& vnpus) { return in_use(vnpus); }

bool is_applied(const VNpuView& vnpu) { return vnpu.live_tenants == 0 || vnpu.applied >= vnpu.granted.number; }

uint32_t applied_revision(const VNpuView& vnpu) {
    if (is_applied(vnpu)) return vnpu.granted.revision;
    for (const Grant& grant : vnpu.older) {
        if (grant.number == vnpu.applied && grant.number > 0) return grant.revision;
    }
    return 0;
}

Plan decide(const Snapshot& snapshot, int64_t now_ns) { return Decision(snapshot).make(now_ns); }

}  // namespace flexnpu
