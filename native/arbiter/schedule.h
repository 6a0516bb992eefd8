// SPDX-License-Identifier: Apache-2.0
//
// Whose turn it is: device time for the vNPUs that share it in time, by priority within the share, else by
// virtual time.
// Pure: no clock, environment, log, lock or randomness. Times are ns; shares are in 1/10,000 of the device's time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace flexnpu {

// open: it may launch. closing: it may not any more, and not all that it launched is over.
enum class Turn : uint8_t { none, open, closing };

// One time-shared vNPU.
struct TurnView {
    // What is promised to it.
    uint32_t share = 0;
    bool fixed = false;     // never more than its share, even alone
    uint32_t priority = 0;  // counts as long as it stays within its share

    bool waiting = false;  // one of its tenants waits at the gate

    // Of a vNPU on several devices, where another one leads: its turn is the leader's.
    bool follows = false;
    bool forced = false;  // the leader's turn is open

    Turn turn = Turn::none;
    int64_t charged_from_ns = 0;  // the device is its own since
    int64_t slice_from_ns = 0;
    int64_t closed_ns = 0;
    uint64_t order = 0;   // of the turns that are not over, by their beginning
    bool early = false;   // opened beside what another had in flight: its work followed on that without a hand-over
    bool behind = false;  // that is not over yet, and the device not its own

    // Its account.
    double virtual_ns = 0;  // charged time over its share
    double tokens_ns = 0;   // a fixed share: what it may still use, up to tokens_at_ns
    int64_t tokens_at_ns = 0;
    double ahead_ns = 1e9;  // what it may use by its priority, up to ahead_at_ns; cut to the most that it can save
    int64_t ahead_at_ns = 0;
    int64_t left_ns = INT64_MIN / 2;  // without demand since; in demand: 0
    int64_t last_ns = 0;              // its last turn ended, or its demand began
    uint32_t missed = 0;              // turns in a row that it did not come for
    int64_t place_ns = 0;             // what last_ns was before them
    int64_t longest_ns = 0;           // decaying maximum of what a slice took, drain included
    int64_t drain_ns = 0;             // moving average from the closing to the end
    // Moving average of what its turns took beyond the device time that its tenants measured; negative where it leaves
    // earlier than it is over.
    std::optional<double> overhead_ns;
    // What it may still be let off for stalls of the host, up to let_off_at_ns.
    double let_off_ns = 0;
    int64_t let_off_at_ns = 0;
    uint64_t used_ns = 0;
    uint64_t turns = 0;
};

struct TurnPlan {
    std::vector<size_t> close;     // first these
    std::optional<size_t> open;    // then this
    std::optional<size_t> extend;  // another slice within the same turn
    int64_t look_again_ns = 0;     // from now; 0: nothing is pending
    bool empty() const { return close.empty() && !open && !extend; }
};

// It wants to launch, or what it launched is not over.
bool has_demand(const TurnView& view);

// Launches beside this vNPU would wait: it should give up a turn that it does not use.
bool is_contended(const std::vector<TurnView>& views, size_t holder);

// At most one turn is open. A priority counts for what a vNPU has earned, nine tenths of its share of the time that
// passed, little of it saved up; who has used that up competes at priority 0. So every share holds, whatever the
// priorities. The highest goes first, at once: the turn of a lower one is closed and not waited for. Among equals a
// turn begins when the one before is over, and goes to the vNPU that has had no more than its part and whose next slice
// is due first (earliest eligible virtual deadline). A long operator so delays the others by itself alone, and its vNPU
// then pauses until they have caught up. What a vNPU owes for a turn that ended late, since a thread of the host did
// not run, it pays by coming late in each round and not by missing some.
TurnPlan schedule(const std::vector<TurnView>& views, int64_t now_ns);

// Whether this vNPU, which wants nothing now, would go before all others at once if it came now, by its priority: it
// may so open its turn itself.
bool may_come_first(const std::vector<TurnView>& views, size_t at, int64_t now_ns);
// Until somebody who has no such right now may come to have it, as it earns its priority again, while others are in
// demand; 0: nobody will.
int64_t next_first_ns(const std::vector<TurnView>& views, int64_t now_ns);

// A slice of this vNPU among those that are in demand now, or, `nominal`, among all.
int64_t slice_ns(const std::vector<TurnView>& views, size_t at, bool nominal = false);

// Of two that compete, which has had less, and by how much the operators of the other overrun its slices: by as much it
// may overrun its own. Nobody where they are level, where a turn is its leader's, or among more than two: then each
// waits for the slices of all others.
struct CatchUp {
    size_t at = SIZE_MAX;
    int64_t ns = 0;
};
CatchUp catch_up(const std::vector<TurnView>& views, int64_t now_ns);

// What happened. These keep the accounts; nothing else writes them.
void set_waiting(std::vector<TurnView>& views, size_t at, bool waiting, int64_t now_ns);
void open_turn(std::vector<TurnView>& views, size_t at, int64_t now_ns);
void extend_turn(std::vector<TurnView>& views, size_t at, int64_t now_ns);
void close_turn(std::vector<TurnView>& views, size_t at, int64_t now_ns);
// All that it launched is over, or given up: it is charged, and whoever has a turn behind it, and behind nobody else,
// is charged from here.
// `used_ns`: what its tenants say that the device worked for them in this turn, 0 where they do not; nothing where none
// of them came before it was closed. No tenant is believed alone: a turn is let off what its own seem to need, at most
// a little over the (lower) median of all.
void end_turn(std::vector<TurnView>& views, size_t at, std::optional<uint64_t> used_ns, int64_t now_ns);
// It was woken too late for its turn, as the host's threads are at times, and is there now: it has its place back, so
// that it does not wait for a whole round more. It was charged for that turn all the same.
void come_late(std::vector<TurnView>& views, size_t at);

// Where a turn is gone without an end (its vNPU takes no turns any more, or is gone itself), the same for who was
// behind it.
void uncover(std::vector<TurnView>& views, int64_t now_ns);

// After a change of what its share means: it starts level with the others.
void level(std::vector<TurnView>& views, size_t at, int64_t now_ns);

}  // namespace flexnpu
