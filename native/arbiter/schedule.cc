// SPDX-License-Identifier: Apache-2.0
#include "arbiter/schedule.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace flexnpu {
namespace {

using Views = std::vector<TurnView>;

// Every vNPU in demand comes by about once a round, now and then only late in the next: gaps stay under 10 ms.
// A slice shorter than the least would go into the hand-over.
constexpr double kRoundNs = 5e6;
constexpr double kLeastSliceNs = 3e5;
// Away for less than this, what a vNPU is owed or owes stands; longer, it is not saved up.
constexpr int64_t kShortAbsenceNs = 5'000'000;
// A fixed share that waits for its turn goes on earning, so that it loses nothing to a long operator of others.
constexpr double kEarnedWaitingNs = 1e8;
constexpr double kMostHandoverNs = 2e5;
// Who has been away from the device for longer than this comes although it owes some: so it pays in small parts. The
// turn before it, and a hand-over, fit into what is left of 10 ms. Only while it owes, and nobody is owed, no more than
// that: long operators leave larger debts, and no other way to pay them than by pauses.
constexpr int64_t kOverdueNs = 6'500'000;
constexpr double kOverdueDebtNs = 6e6, kOwedNs = 4e6;
// Whoever was late for its turn has its place back so often in a row.
constexpr uint32_t kLateInARow = 2;
// What a share earns in this time is the most that a vNPU may save for its priority, or be owed when it comes back.
constexpr double kSavedNs = 5e7;
// The part of its share for which a priority counts. The rest is left to virtual time, so that what the hand-overs cost
// is borne by all and not by those without a priority.
constexpr double kPriorityPart = 0.9;
// By how much a tenant's hand-over may pass that of the others: it depends on its operators' length. Who says that it
// needs less is believed, as that is to its own cost.
constexpr double kOwnHandoverNs = 1e5;
// A holder that lost its processor for some ms would pay for that by a pause of many rounds. So much of its time is
// believed to have been such stalls, and never more than that at once.
constexpr double kLetOff = 0.002;
constexpr double kMostLetOffNs = 1e7;

double part(const TurnView& view) { return view.share / 1e4; }

double fixed_slice(const TurnView& view) { return std::max(part(view) * kRoundNs, kLeastSliceNs); }

double running(const TurnView& view, int64_t now_ns) {
    if (view.turn == Turn::none || view.behind) return 0;
    return static_cast<double>(std::max<int64_t>(now_ns - view.charged_from_ns, 0));
}

double virtual_now(const TurnView& view, int64_t now_ns) {
    return view.virtual_ns + running(view, now_ns) / part(view);
}

double earned(const TurnView& view, int64_t now_ns) {
    const double most = fixed_slice(view) + (has_demand(view) ? part(view) * kEarnedWaitingNs : 0);
    const double tokens = view.tokens_ns + part(view) * static_cast<double>(now_ns - view.tokens_at_ns);
    return std::min(tokens, most);
}

double tokens_now(const TurnView& view, int64_t now_ns) { return earned(view, now_ns) - running(view, now_ns); }

void settle_tokens(TurnView& view, int64_t now_ns) {
    view.tokens_ns = earned(view, now_ns);
    view.tokens_at_ns = now_ns;
}

// Tokens a fixed share needs: a whole slice to begin with; once begun, any.
double tokens_needed(const TurnView& view) { return view.turn == Turn::open ? 0 : fixed_slice(view); }

double ahead_rate(const TurnView& view) { return kPriorityPart * part(view); }

double most_ahead(const TurnView& view) { return std::max(fixed_slice(view), part(view) * kSavedNs); }

// Without what its turn has used so far.
double saved_ahead(const TurnView& view, int64_t now_ns) {
    const double ahead = view.ahead_ns + ahead_rate(view) * static_cast<double>(now_ns - view.ahead_at_ns);
    return std::min(ahead, most_ahead(view) + running(view, now_ns));
}

double ahead_now(const TurnView& view, int64_t now_ns) { return saved_ahead(view, now_ns) - running(view, now_ns); }

void settle(TurnView& view, int64_t now_ns) {
    settle_tokens(view, now_ns);
    view.ahead_ns = saved_ahead(view, now_ns);
    view.ahead_at_ns = now_ns;
}

// A whole slice to go before others, so that it does not break into theirs all the time; once begun, any.
double ahead_left(const TurnView& view, int64_t now_ns) {
    return ahead_now(view, now_ns) - (view.turn == Turn::open ? 0 : fixed_slice(view));
}

// Its priority, as long as it is within its share. The tolerance is that of competes().
uint32_t rank(const TurnView& view, int64_t now_ns) {
    if (view.priority == 0 || view.share == 0) return 0;
    const double left = ahead_left(view, now_ns);
    return (view.turn == Turn::open ? left > 1 : left > -1) ? view.priority : 0;
}

bool competes(const TurnView& view, int64_t now_ns) {
    if (view.follows) return view.forced;
    if (!has_demand(view) || view.share == 0) return false;
    // Within a ns, so that rounding does not make a look come a moment before its time.
    if (!view.fixed) return true;
    const double left = tokens_now(view, now_ns) - tokens_needed(view);
    return view.turn == Turn::open ? left > 1 : left > -1;
}

// The weighted mean of the virtual times of those who compete and whom `who` takes; nothing when nobody is there.
template <class Who>
std::optional<double> mean(const Views& views, int64_t now_ns, Who who) {
    double sum = 0, weight = 0;
    for (size_t i = 0; i < views.size(); ++i) {
        if (!who(i) || !competes(views[i], now_ns)) continue;
        sum += virtual_now(views[i], now_ns) * part(views[i]);
        weight += part(views[i]);
    }
    if (weight == 0) return {};
    return sum / weight;
}

constexpr size_t kNobody = SIZE_MAX;

double slice(const Views& views, size_t at, bool nominal) {
    double all = 0;
    for (size_t i = 0; i < views.size(); ++i) {
        if (i == at || nominal || has_demand(views[i])) all += part(views[i]);
    }
    const double whole = all == 0 ? kRoundNs : kRoundNs * part(views[at]) / all;
    return std::max(views[at].fixed ? std::min(whole, fixed_slice(views[at])) : whole, kLeastSliceNs);
}

double deadline(const Views& views, size_t at, int64_t now_ns) {
    // Not the whole of its longest: not every slice is that long, and it should not fall behind for it.
    const double request = std::max(slice(views, at, false), static_cast<double>(views[at].longest_ns) / 2);
    return virtual_now(views[at], now_ns) + request / part(views[at]);
}

double owed(const TurnView& view, double line, int64_t now_ns) {
    return (line - virtual_now(view, now_ns)) * part(view);
}

// Of these, who has been away for too long, the longest first.
size_t overdue(const Views& views, const std::vector<size_t>& those, double line, int64_t now_ns) {
    size_t found = kNobody;
    for (const size_t i : those) {
        const TurnView& view = views[i];
        if (owed(view, line, now_ns) > kOwedNs) return kNobody;
        if (view.turn != Turn::none || view.fixed || now_ns - view.last_ns < kOverdueNs) continue;
        if (owed(view, line, now_ns) < -kOverdueDebtNs) continue;
        if (found == kNobody || view.last_ns < views[found].last_ns) found = i;
    }
    return found;
}

// Of these, the one that has had no more than its part and whose next slice is due first. The holder loses a tie.
size_t soonest(const Views& views, const std::vector<size_t>& those, double line, int64_t now_ns) {
    const double tolerance = 1 + std::abs(line) * 1e-12;
    size_t best = kNobody;
    double first = 0;
    for (const size_t i : those) {
        if (virtual_now(views[i], now_ns) > line + tolerance) continue;
        const double due = deadline(views, i, now_ns) + (views[i].turn == Turn::open ? tolerance : 0);
        if (best != kNobody && due >= first) continue;
        best = i;
        first = due;
    }
    return best;
}

// Who should have the device.
size_t pick(const Views& views, int64_t now_ns) {
    uint32_t top = 0;
    for (size_t i = 0; i < views.size(); ++i) {
        if (views[i].forced) return i;
        if (competes(views[i], now_ns)) top = std::max(top, rank(views[i], now_ns));
    }
    const std::optional<double> line = mean(views, now_ns, [&](size_t i) { return rank(views[i], now_ns) == top; });
    if (!line) return kNobody;
    std::vector<size_t> those;
    for (size_t i = 0; i < views.size(); ++i) {
        if (rank(views[i], now_ns) == top && competes(views[i], now_ns)) those.push_back(i);
    }
    const size_t late = overdue(views, those, *line, now_ns);
    return late != kNobody ? late : soonest(views, those, *line, now_ns);
}

size_t holder_of(const Views& views) {
    for (size_t i = 0; i < views.size(); ++i) {
        if (views[i].turn == Turn::open) return i;
    }
    return kNobody;
}

// What others launched must be over, unless they come after it; and its own, which a new turn would no longer know of.
bool may_open(const Views& views, size_t at, int64_t now_ns) {
    if (views[at].turn == Turn::closing) return false;
    if (views[at].forced) return true;
    for (size_t i = 0; i < views.size(); ++i) {
        if (i == at || views[i].turn == Turn::none) continue;
        if (rank(views[i], now_ns) >= rank(views[at], now_ns)) return false;
    }
    return true;
}

// At once, whoever holds the turn.
bool goes_before(const TurnView& view, const TurnView& holder, int64_t now_ns) {
    return view.forced ? !holder.forced : rank(view, now_ns) > rank(holder, now_ns);
}

bool others_compete(const Views& views, size_t at, int64_t now_ns) {
    for (size_t i = 0; i < views.size(); ++i) {
        if (i != at && competes(views[i], now_ns)) return true;
    }
    return false;
}

// A slice is closed early by what it takes to drain, so that it ends in time. It has not begun while the device works
// for another.
int64_t slice_end(const Views& views, size_t at) {
    if (views[at].behind) return INT64_MAX;
    const double length = slice(views, at, false);
    const double drain = std::min(static_cast<double>(views[at].drain_ns), length / 2);
    return views[at].slice_from_ns + static_cast<int64_t>(length - drain);
}

// When a fixed share has used or earned its tokens.
int64_t tokens_change(const TurnView& view, int64_t now_ns) {
    if (view.behind) return INT64_MAX;
    const double left = tokens_now(view, now_ns) - tokens_needed(view);
    const double rate = view.turn == Turn::none ? part(view) : 1 - part(view);
    return rate <= 0 ? INT64_MAX : now_ns + static_cast<int64_t>(std::ceil(std::abs(left) / rate));
}

// When its priority ends or begins to count.
int64_t rank_change(const TurnView& view, int64_t now_ns) {
    const double left = ahead_left(view, now_ns);
    const double rate = rank(view, now_ns) != 0 ? 1 - ahead_rate(view) : ahead_rate(view);
    return now_ns + static_cast<int64_t>(std::ceil(std::abs(left) / rate));
}

// Of those whose rank could change who has the device.
int64_t next_rank(const Views& views, size_t holder, int64_t now_ns) {
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < views.size(); ++i) {
        const TurnView& view = views[i];
        if (view.priority == 0 || !competes(view, now_ns)) continue;
        const bool gains = view.turn == Turn::none && rank(view, now_ns) == 0;
        const bool loses = i == holder && !view.behind && rank(view, now_ns) != 0;
        if (gains || loses) next = std::min(next, rank_change(view, now_ns));
    }
    return next;
}

int64_t next_look(const Views& views, size_t holder, int64_t now_ns) {
    int64_t next = INT64_MAX;
    if (holder != kNobody && others_compete(views, holder, now_ns)) {
        next = std::min(slice_end(views, holder), next_rank(views, holder, now_ns));
    }
    for (const TurnView& view : views) {
        if (!view.fixed || view.share == 0 || !has_demand(view)) continue;
        // A closing turn ends by its tenants' word; one that waits with tokens is served by whoever ends.
        const bool pending = view.turn == Turn::open || (view.turn == Turn::none && !competes(view, now_ns));
        if (pending) next = std::min(next, tokens_change(view, now_ns));
    }
    return next == INT64_MAX ? 0 : std::max<int64_t>(next - now_ns, 1);
}

double handover(const Views& views, const TurnView& of) {
    std::vector<double> known;
    for (const TurnView& view : views) {
        if (view.overhead_ns) known.push_back(std::clamp(*view.overhead_ns, -kMostHandoverNs, kMostHandoverNs));
    }
    if (known.empty()) return 0;
    const auto middle = known.begin() + static_cast<std::ptrdiff_t>((known.size() - 1) / 2);
    std::nth_element(known.begin(), middle, known.end());
    const double own = std::max(of.overhead_ns.value_or(*middle), -kMostHandoverNs);
    return std::min(own, *middle + kOwnHandoverNs);
}

void measure(TurnView& view, uint64_t busy_ns, int64_t now_ns) {
    if (busy_ns == 0 || view.early) return;
    const auto length = static_cast<double>(now_ns - view.charged_from_ns);
    const double over = std::clamp(length - static_cast<double>(busy_ns), -2 * kMostHandoverNs, 2 * kMostHandoverNs);
    const double before = view.overhead_ns.value_or(over);
    view.overhead_ns = before + (over - before) / 16;
}

// What of a turn was a stall, as far as its tenants are believed.
double let_off(TurnView& view, uint64_t busy_ns, double handover_ns, int64_t now_ns) {
    const double earned = kLetOff * static_cast<double>(now_ns - view.let_off_at_ns);
    view.let_off_ns = std::min(view.let_off_ns + earned, kMostLetOffNs);
    view.let_off_at_ns = now_ns;
    const auto length = static_cast<double>(now_ns - view.charged_from_ns);
    const double stall = length - handover_ns - static_cast<double>(busy_ns);
    if (busy_ns == 0 || stall < kMostHandoverNs) return 0;
    const double believed = std::min(stall, view.let_off_ns);
    view.let_off_ns -= believed;
    return believed;
}

bool is_behind(const Views& views, const TurnView& view) {
    return std::any_of(views.begin(), views.end(),
                       [&](const TurnView& other) { return other.turn != Turn::none && other.order < view.order; });
}

void charge(TurnView& view, int64_t until_ns, double less_ns = 0) {
    const int64_t used = std::max<int64_t>(until_ns - view.charged_from_ns - static_cast<int64_t>(less_ns), 0);
    view.used_ns += static_cast<uint64_t>(used);
    view.virtual_ns += static_cast<double>(used) / part(view);
    view.tokens_ns -= static_cast<double>(used);
    // What idle time brought it beyond its share is not held against it for long, an operator that was too long is.
    const double least = -std::max(fixed_slice(view), static_cast<double>(view.longest_ns));
    view.ahead_ns = std::max(view.ahead_ns - static_cast<double>(used), std::min(view.ahead_ns, least));
    view.charged_from_ns = until_ns;
}

std::optional<double> line_without(const Views& views, size_t at, int64_t now_ns) {
    return mean(views, now_ns, [at](size_t i) { return i != at; });
}

// Back from a long absence, a vNPU stands where the others are; it owes at most one slice.
void join(Views& views, size_t at, int64_t now_ns) {
    TurnView& view = views[at];
    const std::optional<double> line = line_without(views, at, now_ns);
    if (!line) return;
    const double debt = std::max(slice(views, at, false), static_cast<double>(view.longest_ns)) / part(view);
    view.virtual_ns = std::clamp(view.virtual_ns, *line, *line + debt);
}

// Back from a short one, it is owed what it was, but no more than a little: many short ones are a long one.
void rejoin(Views& views, size_t at, int64_t now_ns) {
    const std::optional<double> line = line_without(views, at, now_ns);
    if (line) views[at].virtual_ns = std::max(views[at].virtual_ns, *line - kSavedNs);
}

// Called after the demand may have changed.
void note_demand(Views& views, size_t at, bool before, int64_t now_ns) {
    TurnView& view = views[at];
    if (before == has_demand(view)) return;
    if (before) {
        view.left_ns = now_ns;
        return;
    }
    view.last_ns = now_ns;
    view.missed = 0;
    if (view.share != 0) {
        now_ns - view.left_ns > kShortAbsenceNs ? join(views, at, now_ns) : rejoin(views, at, now_ns);
    }
}

}  // namespace

bool has_demand(const TurnView& view) { return view.waiting || view.turn != Turn::none; }

bool is_contended(const Views& views, size_t holder) {
    if (views[holder].fixed) return true;  // what it holds without use would be lost to it
    for (size_t i = 0; i < views.size(); ++i) {
        if (i != holder && has_demand(views[i])) return true;
    }
    return false;
}

TurnPlan schedule(const Views& views, int64_t now_ns) {
    TurnPlan plan;
    const size_t holder = holder_of(views);
    const size_t top = pick(views, now_ns);
    if (holder == kNobody) {
        if (top != kNobody && may_open(views, top, now_ns)) plan.open = top;
    } else if (top != kNobody && goes_before(views[top], views[holder], now_ns)) {
        plan.close.push_back(holder);
        if (may_open(views, top, now_ns)) plan.open = top;
    } else if (!competes(views[holder], now_ns)) {
        plan.close.push_back(holder);
    } else if (others_compete(views, holder, now_ns) && now_ns >= slice_end(views, holder)) {
        if (top == holder) {
            plan.extend = holder;
        } else {
            plan.close.push_back(holder);
        }
    }
    if (plan.empty()) plan.look_again_ns = next_look(views, holder, now_ns);
    return plan;
}

bool may_come_first(const Views& views, size_t at, int64_t now_ns) {
    const TurnView& view = views[at];
    const uint32_t own = rank(view, now_ns);
    if (has_demand(view) || view.follows || own == 0) return false;
    for (const TurnView& other : views) {
        if (other.forced || (competes(other, now_ns) && rank(other, now_ns) >= own)) return false;
    }
    Views then = views;
    set_waiting(then, at, true, now_ns);
    return schedule(then, now_ns).open == at;
}

int64_t next_first_ns(const Views& views, int64_t now_ns) {
    int64_t next = INT64_MAX;
    if (std::none_of(views.begin(), views.end(), has_demand)) return 0;
    for (const TurnView& view : views) {
        if (view.priority == 0 || view.share == 0 || has_demand(view) || rank(view, now_ns) != 0) continue;
        next = std::min(next, rank_change(view, now_ns) - now_ns);
    }
    return next == INT64_MAX ? 0 : std::max<int64_t>(next, 1);
}

int64_t slice_ns(const Views& views, size_t at, bool nominal) {
    return static_cast<int64_t>(slice(views, at, nominal));
}

CatchUp catch_up(const Views& views, int64_t now_ns) {
    std::vector<size_t> those;
    for (size_t i = 0; i < views.size(); ++i) {
        if (competes(views[i], now_ns)) those.push_back(i);
    }
    const auto follows = [&](size_t i) { return views[i].follows; };
    if (those.size() != 2 || std::any_of(those.begin(), those.end(), follows)) return {};
    auto [behind, ahead] = std::pair{those[0], those[1]};
    if (virtual_now(views[behind], now_ns) > virtual_now(views[ahead], now_ns)) std::swap(behind, ahead);
    const double lead = virtual_now(views[ahead], now_ns) - virtual_now(views[behind], now_ns);
    if (views[behind].fixed || lead * part(views[behind]) < 1) return {};
    const double over = static_cast<double>(views[ahead].longest_ns) - slice(views, ahead, false);
    return {behind, std::max<int64_t>(static_cast<int64_t>(over), 0)};
}

void set_waiting(Views& views, size_t at, bool waiting, int64_t now_ns) {
    const bool before = has_demand(views[at]);
    settle(views[at], now_ns);
    views[at].waiting = waiting;
    note_demand(views, at, before, now_ns);
}

void open_turn(Views& views, size_t at, int64_t now_ns) {
    TurnView& view = views[at];
    const bool before = has_demand(view);
    settle(view, now_ns);
    view.order = 0;
    view.early = view.behind = false;
    for (const TurnView& other : views) {
        if (other.turn == Turn::none) continue;
        view.order = std::max(view.order, other.order + 1);
        view.early = view.behind = true;
    }
    view.turn = Turn::open;
    view.charged_from_ns = view.slice_from_ns = now_ns;
    view.turns += 1;
    note_demand(views, at, before, now_ns);
}

void extend_turn(Views& views, size_t at, int64_t now_ns) { views[at].slice_from_ns = now_ns; }

void close_turn(Views& views, size_t at, int64_t now_ns) {
    views[at].turn = Turn::closing;
    views[at].closed_ns = now_ns;
}

void end_turn(Views& views, size_t at, std::optional<uint64_t> used_ns, int64_t now_ns) {
    TurnView& view = views[at];
    const bool before = has_demand(view);
    const uint64_t busy_ns = used_ns.value_or(0);
    settle(view, now_ns);
    if (view.turn == Turn::closing && !view.behind) {
        const int64_t drain = now_ns - std::max(view.closed_ns, view.charged_from_ns);
        view.drain_ns += (drain - view.drain_ns) / 4;
        view.longest_ns -= view.longest_ns / 4;
        // A holder that was alone had no slices; what it ran for says nothing about its operators.
        const int64_t length = slice_ns(views, at) + drain;
        view.longest_ns = std::max(view.longest_ns, std::min(now_ns - view.slice_from_ns, length));
    }
    measure(view, busy_ns, now_ns);
    if (view.behind) {
        // Over before what it came after: it ran beside that, and nobody else knows for how long. The other was stopped
        // for it all the same.
        view.charged_from_ns = std::max(view.charged_from_ns, now_ns - static_cast<int64_t>(busy_ns));
        charge(view, now_ns);
        view.ahead_ns -= kOwnHandoverNs;
    } else if (view.early) {
        charge(view, now_ns);
    } else {
        const double needed = handover(views, view);
        charge(view, now_ns, needed + let_off(view, busy_ns, needed, now_ns));
    }
    view.turn = Turn::none;
    if (view.missed == 0) view.place_ns = view.last_ns;
    view.missed = used_ns ? 0 : view.missed + 1;
    view.last_ns = now_ns;
    view.behind = false;
    uncover(views, now_ns);
    note_demand(views, at, before, now_ns);
}

void come_late(Views& views, size_t at) {
    TurnView& view = views[at];
    if (view.missed > 0 && view.missed <= kLateInARow) view.last_ns = std::min(view.last_ns, view.place_ns);
}

void uncover(Views& views, int64_t now_ns) {
    for (TurnView& view : views) {
        if (!view.behind || is_behind(views, view)) continue;
        view.behind = false;
        view.charged_from_ns = view.slice_from_ns = now_ns;
    }
}

void level(Views& views, size_t at, int64_t now_ns) {
    settle(views[at], now_ns);
    join(views, at, now_ns);
}

}  // namespace flexnpu
