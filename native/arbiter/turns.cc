// SPDX-License-Identifier: Apache-2.0
#include "arbiter/turns.h"

#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "arbiter/process.h"
#include "flexnpu/hail.h"

namespace flexnpu {
namespace {

// A holder that others wait for and that launches nothing is looked at this often.
constexpr int64_t kLookNs = 1'000'000;
// One that nobody waits for: often enough that idleness is not charged for long.
constexpr int64_t kLoneLookNs = 100'000'000;
// A process that cannot run: whether it can again.
constexpr int64_t kPassedLookNs = 20'000'000;
constexpr int64_t kPassedLaterNs = 100'000'000;
// The longest that the others wait for a process that runs and does not say that it is done; halved with each time.
constexpr int64_t kDrainPatienceNs = 2'000'000'000;
constexpr int64_t kLeastDrainPatienceNs = 50'000'000;

constexpr int64_t kLeastInFlightNs = 150'000;  // so that a turn's end is covered while the next holder wakes
constexpr int64_t kMostInFlightNs = 2'000'000;
constexpr int64_t kMostToCatchUpNs = 5'000'000;  // so that who waits for it waits for less than 10 ms
static_assert(kLeastInFlightNs > FLEXNPU_TIGHT_NS);
constexpr int64_t kLatelyNs = 100'000'000;  // who had a turn within this is likely to come again

// Whoever launches again after it was passed over can run.
void look_at_passed(Tenant& tenant, int64_t now_ns) {
    if (!tenant.passed || tenant.gone || (now_ns < tenant.look_ns && !tenant.news)) return;
    tenant.passed = process_state(tenant.pid) != ProcessState::running;
    ++tenant.looks;
    tenant.look_ns = now_ns + (tenant.looks < 50 ? kPassedLookNs : kPassedLaterNs);
}

void look_at_process(const VNpu& vnpu, Tenant& tenant, int64_t now_ns) {
    if (tenant.passed || !tenant.page) return;
    if (has_entered(vnpu, tenant) ? has_drained(vnpu, tenant) : !waits(vnpu, tenant)) return;
    if (process_state(tenant.pid) == ProcessState::running) return;
    tenant.passed = true;
    tenant.looks = 0;
    tenant.look_ns = now_ns + kPassedLookNs;
}

bool anyone_waits(const VNpu& vnpu) {
    return std::any_of(vnpu.tenants.begin(), vnpu.tenants.end(),
                       [&](const auto& at) { return waits(vnpu, at.second); });
}

bool all_drained(const VNpu& vnpu) {
    return std::all_of(vnpu.tenants.begin(), vnpu.tenants.end(),
                       [&](const auto& at) { return at.second.passed || has_drained(vnpu, at.second); });
}

bool has_anyone_entered(const VNpu& vnpu) {
    return std::any_of(vnpu.tenants.begin(), vnpu.tenants.end(),
                       [&](const auto& at) { return has_entered(vnpu, at.second); });
}

// An open turn that nobody uses any more: somebody did or could not, and nobody is about to.
bool is_left(const VNpu& vnpu) {
    bool used = vnpu.tenants.empty() || vnpu.deserted;
    for (const auto& [id, tenant] : vnpu.tenants) {
        const bool entered = has_entered(vnpu, tenant);
        used = used || entered || tenant.passed;
        if (tenant.passed) continue;
        if (entered ? !has_drained(vnpu, tenant) : waits(vnpu, tenant)) return false;
    }
    return used;
}

bool follows(const VNpu& vnpu) { return vnpu.gang && !vnpu.gang->leads(vnpu.ordinal) && vnpu.gang->is_led(); }
bool leads(const VNpu& vnpu) { return vnpu.gang && vnpu.gang->leads(vnpu.ordinal); }

// Whether it asks for a turn here: a follower does when its leader has one.
bool wants_turn(const VNpu& vnpu) {
    if (follows(vnpu)) return vnpu.gang->is_open();
    return anyone_waits(vnpu) || (leads(vnpu) && vnpu.gang->anyone_waits());
}

// A turn that is left here goes on while the gang uses it elsewhere.
bool goes_on(const VNpu& vnpu) {
    if (follows(vnpu)) return vnpu.gang->is_open();
    return leads(vnpu) && (vnpu.gang->anyone_uses() || vnpu.gang->anyone_waits());
}

void tell_gang(const VNpu& vnpu, const TurnView& view) {
    if (leads(vnpu)) vnpu.gang->set_open(view.turn == Turn::open);
    if (!follows(vnpu)) return;
    vnpu.gang->tell(vnpu.ordinal, anyone_waits(vnpu), view.turn != Turn::none, !all_drained(vnpu));
}

void level_if_changed(std::vector<TurnView>& views, size_t at, const VNpu& vnpu, int64_t now_ns) {
    TurnView& view = views[at];
    if (vnpu.quota.share == 0) return;  // leaves the pool as soon as its cores are its own
    const bool changed = view.share != 0 && view.fixed != vnpu.quota.fixed;
    view.share = vnpu.share;
    view.fixed = vnpu.quota.fixed;
    view.priority = vnpu.priority;
    if (changed) level(views, at, now_ns);
}

bool anyone_has_turn(const std::vector<TurnView>& views) {
    return std::any_of(views.begin(), views.end(), [](const TurnView& view) { return view.turn != Turn::none; });
}

// Who could hail: somebody is there, and on this device alone, as a gang's turns begin on all of its devices at once.
bool may_hail(const VNpu& vnpu) {
    return !vnpu.gang && vnpu.page->physical(vnpu.ordinal) < FLEXNPU_HAILS &&
           std::any_of(vnpu.tenants.begin(), vnpu.tenants.end(), [](const auto& at) { return at.second.page; });
}

// Half of a slice, so that the other half is what it takes to drain. Beside long operators of one other it may be as
// much as those overrun: with less in flight the device idles in its turns whenever its host thread is late by a
// millisecond, and it pays for the time.
uint64_t in_flight(const std::vector<TurnView>& views, const std::vector<VNpu*>& vnpus, size_t at,
                   int64_t catch_up_ns) {
    for (size_t i = 0; i < views.size(); ++i) {
        if (views[i].priority > views[at].priority && !vnpus[i]->tenants.empty()) return FLEXNPU_TIGHT_NS;
    }
    const int64_t half = std::clamp(slice_ns(views, at, true) / 2, kLeastInFlightNs, kMostInFlightNs);
    return static_cast<uint64_t>(std::max(half, std::min(catch_up_ns, kMostToCatchUpNs)));
}

}  // namespace

void join_gang(const VNpu& vnpu) {
    if (leads(vnpu)) vnpu.gang->set_led(true);
}

void leave_gang(const VNpu& vnpu) {
    if (!vnpu.gang) return;
    if (!leads(vnpu)) return vnpu.gang->tell(vnpu.ordinal, false, false, false);
    vnpu.gang->set_open(false);
    vnpu.gang->set_led(false);
}

Turns::Pool Turns::gather(const std::vector<VNpu*>& vnpus, int64_t now_ns) {
    Pool pool;
    for (VNpu* vnpu : vnpus) {
        if (!vnpu->view.granted.time_shared) continue;
        pool.vnpus.push_back(vnpu);
        pool.views.push_back(vnpu->turn);
    }
    for (size_t i = 0; i < pool.vnpus.size(); ++i) level_if_changed(pool.views, i, *pool.vnpus[i], now_ns);
    for (size_t i = 0; i < pool.vnpus.size(); ++i) {
        VNpu& vnpu = *pool.vnpus[i];
        for (auto& [id, tenant] : vnpu.tenants) look_at_passed(tenant, now_ns);
        pool.views[i].forced = follows(vnpu) && vnpu.gang->is_open();
        pool.views[i].follows = follows(vnpu);
        set_waiting(pool.views, i, wants_turn(vnpu), now_ns);
        if (rings_of(vnpu) != vnpu.closed_rings) come_late(pool.views, i);
    }
    uncover(pool.views, now_ns);
    return pool;
}

void Turns::bound(Pool& pool, int64_t now_ns) {
    const CatchUp behind = catch_up(pool.views, now_ns);
    for (size_t i = 0; i < pool.vnpus.size(); ++i) {
        VNpu& vnpu = *pool.vnpus[i];
        const uint64_t most = in_flight(pool.views, pool.vnpus, i, i == behind.at ? behind.ns : 0);
        if (most != vnpu.in_flight_ns) vnpu.page->set_in_flight(vnpu.ordinal, most);
        vnpu.in_flight_ns = most;
    }
}

int64_t Turns::step(const std::vector<VNpu*>& vnpus, int64_t now_ns) {
    Pool pool = gather(vnpus, now_ns);
    // Each round ends, closes or opens a turn, and a tenant can answer no turn that it was not woken for.
    TurnPlan plan;
    for (size_t round = 0; round < 4 * pool.vnpus.size() + 4; ++round) {
        const bool changed = take_over(pool, now_ns) | settle(pool, now_ns);
        bound(pool, now_ns);
        plan = schedule(pool.views, now_ns);
        if (!carry_out(pool, plan, now_ns) && !changed && !dismiss(pool, now_ns)) break;
    }
    int64_t look_ns = plan.empty() ? plan.look_again_ns : 1;
    appoint(pool, now_ns);
    if (hails_) look_ns = sooner(look_ns, next_first_ns(pool.views, now_ns));
    for (size_t i = 0; i < pool.vnpus.size(); ++i) {
        look_ns = sooner(look_ns, watch(pool, i, now_ns));
        flag(pool, i);
        pool.vnpus[i]->turn = pool.views[i];
        tell_gang(*pool.vnpus[i], pool.views[i]);
    }
    publish(pool);
    return look_ns;
}

std::optional<size_t> Turns::on_standby(const Pool& pool) {
    for (size_t i = 0; i < pool.vnpus.size(); ++i) {
        if (pool.vnpus[i]->on_standby) return i;
    }
    return std::nullopt;
}

// Who has hailed is taken at its word, whether it enters or not: the others hold for it, so it is charged.
bool Turns::has_come(const VNpu& vnpu) const {
    return hails_->hail(vnpu.page->physical(vnpu.ordinal)) == vnpu.hail || has_anyone_entered(vnpu);
}

// The turn that was opened by who is on standby is one as any other from here on.
bool Turns::take_over(Pool& pool, int64_t now_ns) {
    const std::optional<size_t> first = on_standby(pool);
    if (!first || !has_come(*pool.vnpus[*first])) return false;
    for (size_t i = 0; i < pool.views.size(); ++i) {
        if (pool.views[i].turn == Turn::open) close(pool, i, now_ns);
    }
    open(pool, *first, now_ns);
    return true;
}

// Of two that would come first the higher one; of equals who is on standby already, as it may just be coming. Else the
// one that has waited longer for its next turn, where both had one lately, as they are likely to take turns; or the one
// that had.
bool Turns::is_likelier(const Pool& pool, size_t at, size_t than, int64_t now_ns) {
    const TurnView &one = pool.views[at], &other = pool.views[than];
    if (one.priority != other.priority) return one.priority > other.priority;
    if (pool.vnpus[at]->on_standby != pool.vnpus[than]->on_standby) return pool.vnpus[at]->on_standby;
    const bool lately = now_ns - one.last_ns < kLatelyNs && now_ns - other.last_ns < kLatelyNs;
    return lately ? one.last_ns < other.last_ns : one.last_ns > other.last_ns;
}

std::optional<size_t> Turns::likeliest(const Pool& pool, int64_t now_ns) {
    std::optional<size_t> first;
    for (size_t i = 0; i < pool.vnpus.size(); ++i) {
        if (first && !is_likelier(pool, i, *first, now_ns)) continue;
        if (may_hail(*pool.vnpus[i]) && may_come_first(pool.views, i, now_ns)) first = i;
    }
    return first;
}

// Whoever would not come first any more. First the word, then who has entered, as in close(); who has come meanwhile
// has its turn, which schedule() then ends as it sees fit.
bool Turns::dismiss(Pool& pool, int64_t now_ns) {
    const std::optional<size_t> first = on_standby(pool);
    if (!first) return false;
    if (likeliest(pool, now_ns) == first) return false;
    VNpu& vnpu = *pool.vnpus[*first];
    write_turn(vnpu, flexnpu_pack_turn(vnpu.number, 0));
    if (take_over(pool, now_ns)) return true;
    vnpu.on_standby = false;
    return false;
}

// First all others know the print, then it knows the hail, so that nobody hears a hail that it cannot tell from noise.
void Turns::appoint(Pool& pool, int64_t now_ns) {
    if (!hails_ || on_standby(pool)) return;
    const std::optional<size_t> first = likeliest(pool, now_ns);
    if (!first) return;
    VNpu& vnpu = *pool.vnpus[*first];
    if (getrandom(&vnpu.hail, sizeof vnpu.hail, 0) != sizeof vnpu.hail || vnpu.hail == 0) return;
    vnpu.number = next_number();
    vnpu.on_standby = true;
    publish(pool);
    vnpu.page->set_hail(vnpu.ordinal, vnpu.hail);
    flag(pool, *first);
}

void Turns::publish(Pool& pool) {
    const std::optional<size_t> first = on_standby(pool);
    const uint64_t print = first ? flexnpu_hail_print(pool.vnpus[*first]->hail) : 0;
    for (size_t i = 0; i < pool.vnpus.size(); ++i) {
        VNpu& vnpu = *pool.vnpus[i];
        const uint64_t heeds = i == first || vnpu.gang ? 0 : print;
        if (heeds != vnpu.yields_to) vnpu.page->set_yields_to(vnpu.ordinal, heeds);
        vnpu.yields_to = heeds;
    }
}

// Ends what is over.
bool Turns::settle(Pool& pool, int64_t now_ns) {
    bool ended = false;
    for (size_t i = 0; i < pool.vnpus.size(); ++i) {
        const VNpu& vnpu = *pool.vnpus[i];
        TurnView& view = pool.views[i];
        if (view.turn == Turn::open && is_left(vnpu)) leave(pool, i, now_ns);
        if (view.turn != Turn::closing) continue;
        const bool tired = now_ns - view.closed_ns > vnpu.drain_patience_ns;
        const bool drained = all_drained(vnpu) && !(leads(vnpu) && vnpu.gang->anyone_holds());
        if (!tired && !drained) continue;
        pool.vnpus[i]->drain_patience_ns =
            tired ? std::max(vnpu.drain_patience_ns / 2, kLeastDrainPatienceNs) : kDrainPatienceNs;
        end(pool, i, now_ns);
        ended = true;
    }
    return ended;
}

bool Turns::carry_out(Pool& pool, const TurnPlan& plan, int64_t now_ns) {
    for (const size_t i : plan.close) close(pool, i, now_ns);
    if (plan.extend) extend_turn(pool.views, *plan.extend, now_ns);
    if (plan.open) open(pool, *plan.open, now_ns);
    return !plan.empty();
}

void Turns::open(Pool& pool, size_t at, int64_t now_ns) {
    VNpu& vnpu = *pool.vnpus[at];
    open_turn(pool.views, at, now_ns);
    // A hail that crosses with this opens the same turn.
    if (!std::exchange(vnpu.on_standby, false)) vnpu.number = next_number();
    vnpu.asked = vnpu.deserted = false;
    vnpu.look_ns = now_ns;
    vnpu.seen_launches = launches_of(vnpu);
    if (vnpu.drain_patience_ns == 0) vnpu.drain_patience_ns = kDrainPatienceNs;
    flag(pool, at);
}

// First the word, then (in all_drained) who has entered: one of the two sides sees the other.
void Turns::close(Pool& pool, size_t at, int64_t now_ns) {
    VNpu& vnpu = *pool.vnpus[at];
    close_turn(pool.views, at, now_ns);
    vnpu.look_ns = now_ns;
    vnpu.closed_rings = rings_of(vnpu);  // before anybody can find it closed
    flag(pool, at);
}

// Whoever gave the turn up cannot enter it again; where it goes on, it does so under a new number.
void Turns::leave(Pool& pool, size_t at, int64_t now_ns) {
    VNpu& vnpu = *pool.vnpus[at];
    if (!goes_on(vnpu)) return close(pool, at, now_ns);
    vnpu.number = next_number();
    flag(pool, at);
}

void Turns::end(Pool& pool, size_t at, int64_t now_ns) {
    VNpu& vnpu = *pool.vnpus[at];
    if (!has_anyone_entered(vnpu)) {
        end_turn(pool.views, at, std::nullopt, now_ns);
        // It may be late, or it may not be able to come at all.
        for (auto& [id, tenant] : vnpu.tenants) look_at_process(vnpu, tenant, now_ns);
        return;
    }
    const uint64_t busy = busy_of(vnpu);
    // The last of a turn may be measured after its end, and counts then.
    const uint64_t before = std::min(std::exchange(vnpu.busy_ns, busy), busy);
    end_turn(pool.views, at, busy - before, now_ns);
}

void Turns::flag(Pool& pool, size_t at) {
    const TurnView& view = pool.views[at];
    VNpu& vnpu = *pool.vnpus[at];
    if (view.turn == Turn::none && !vnpu.on_standby) return;
    const bool behind = vnpu.on_standby ? anyone_has_turn(pool.views) : view.behind;
    uint32_t flags = behind ? FLEXNPU_TURN_BEHIND : 0;
    if (vnpu.on_standby) flags |= FLEXNPU_TURN_STANDBY;
    if (view.turn == Turn::open) flags |= FLEXNPU_TURN_OPEN;
    if (view.turn == Turn::open && (vnpu.asked || is_contended(pool.views, at))) flags |= FLEXNPU_TURN_CONTENDED;
    write_turn(vnpu, flexnpu_pack_turn(vnpu.number, flags));
}

// Looks at a holder that makes others wait, or that seems to have nothing to do.
int64_t Turns::watch(Pool& pool, size_t at, int64_t now_ns) {
    VNpu& vnpu = *pool.vnpus[at];
    const TurnView& view = pool.views[at];
    int64_t next_ns = 0;
    for (const auto& [id, tenant] : vnpu.tenants) {
        if (!tenant.passed || tenant.gone || tenant.page->waiting(vnpu.ordinal) == 0) continue;
        next_ns = sooner(next_ns, std::max<int64_t>(tenant.look_ns - now_ns, 1));
    }
    if (view.turn == Turn::none) return next_ns;
    const bool contended = view.turn == Turn::closing || is_contended(pool.views, at);
    if (!contended && vnpu.asked) return next_ns;
    const int64_t every = contended ? kLookNs : kLoneLookNs;
    if (now_ns - vnpu.look_ns < every) return sooner(next_ns, vnpu.look_ns + every - now_ns);
    vnpu.look_ns = now_ns;
    const uint64_t launches = launches_of(vnpu);
    if (launches == vnpu.seen_launches) {
        vnpu.asked = vnpu.asked || !contended;
        for (auto& [id, tenant] : vnpu.tenants) look_at_process(vnpu, tenant, now_ns);
        // Somebody may just have been passed over: another look, at once.
        for (const auto& [id, tenant] : vnpu.tenants) {
            if (tenant.passed && tenant.looks == 0 && tenant.look_ns == now_ns + kPassedLookNs) return 1;
        }
    }
    vnpu.seen_launches = launches;
    return sooner(next_ns, every);
}

}  // namespace flexnpu
