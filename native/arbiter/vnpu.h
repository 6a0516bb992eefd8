// SPDX-License-Identifier: Apache-2.0
//
// What the arbiter knows of a vNPU and its tenants, and what it believes of their reports.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "arbiter/decide.h"
#include "arbiter/futex.h"
#include "arbiter/gang.h"
#include "arbiter/pages.h"
#include "arbiter/schedule.h"

namespace flexnpu {

using VNpuId = uint64_t;
using TenantId = uint64_t;

// What the registry says of a vNPU on this device.
struct Quota {
    uint32_t revision = 0;
    uint32_t cores = 0;         // cube cores, guaranteed
    uint32_t burst_cores = 0;   // cube cores that idle ones of others may bring it to
    uint32_t vector_cores = 0;  // 0: they follow the cube cores in proportion
    uint64_t memory_bytes = 0;
    uint32_t share = 0;     // of the device's time, in 1/10,000; 0: not time-shared
    bool fixed = false;     // never more than the share, even alone
    uint32_t priority = 0;  // higher goes first
    uint32_t phase = 0;     // flexnpu_phase that was declared; IDLE: none
};

// A tenant that rings without news, or without end, is not listened to for a moment.
class Bell {
  public:
    void hear(uint32_t count, bool news, int64_t now_ns);  // it now reads `count`
    void woke(int64_t now_ns);                             // the kernel says that it woke us, whatever it reads
    uint32_t count() const { return count_; }
    // Not to be slept on before.
    int64_t muted_until_ns() const { return muted_until_ns_; }

  private:
    void ring(uint32_t weight, int64_t now_ns);
    uint32_t count_ = 0;
    uint32_t rings_ = 0;
    int64_t window_ns_ = 0, muted_until_ns_ = 0;
};

// What a tenant had counted when it was last looked at.
struct TenantCounts {
    bool known = false;
    uint64_t waited_ns = 0;
    StepCounts steps;
};

struct Tenant {
    std::shared_ptr<ReportPage> page;  // none: of an earlier daemon, and not back yet
    uint32_t pid = 0;
    uint32_t base_grant = 0;  // it cannot have work older than this

    Bell bell;
    uint64_t digest = 0;  // of all that makes a difference here
    uint64_t begun = 0;   // tellings of steps, as they were seen last
    bool news = false;

    // Its process cannot run: nobody waits for it.
    bool passed = false;
    bool gone = false;    // and never will
    int64_t look_ns = 0;  // not looked at again before
    uint32_t looks = 0;
    uint64_t launches_seen = 0;

    TenantCounts counted;

    // The newest grant that it has applied, and when that was first seen.
    uint32_t applied = 0;
    int64_t applied_ns = 0;
};

struct VNpu {
    std::shared_ptr<ControlPage> page;
    uint32_t ordinal = 0;
    std::shared_ptr<Gang> gang;  // none: it is on this device alone
    Quota quota;
    std::map<TenantId, Tenant> tenants;
    bool leaving = false;
    bool watched = false;  // somebody follows its steps

    // Cores.
    VNpuView view;
    uint32_t done_revision = 0;  // the newest that was applied
    int64_t applied_after_ns = 0;
    int64_t wanted_ns = 0;   // since when the registry wants what it wants now
    uint32_t published = 0;  // number of the grant
    uint64_t memory = 0;     // published with it
    bool news = false;       // of it, since they were last taken

    // Lending.
    uint64_t launches = 0;
    int64_t launched_ns = 0;  // when they were last seen to rise
    int64_t idle_from_ns = 0;
    int64_t patience_ns = 0;  // without a launch before it counts as idle
    uint32_t rings = 0;       // the sum of its bells when it was last taken for idle

    // Dispatch: the share and priority that it is to have now, and what tells its phase.
    uint32_t share = 0, priority = 0;
    uint32_t phase = 0, detected_phase = 0;
    uint64_t used_seen_ns = 0;

    // Time.
    TurnView turn;
    uint64_t number = 0;  // of its newest turn
    uint64_t word = FLEXNPU_TURN_FREE;
    uint64_t in_flight_ns = 0;
    bool asked = false;     // to give up a turn that it seems not to use
    bool deserted = false;  // a tenant went while the turn was open: nobody may be there to use it
    int64_t look_ns = 0;    // at what the holder does
    uint64_t seen_launches = 0;
    uint32_t closed_rings = 0;  // the sum of its bells when its newest turn was closed; who is late rings after that
    uint64_t busy_ns = 0;       // as reported when the turn began
    int64_t drain_patience_ns = 0;

    // Hails.
    bool on_standby = false;  // it may open its newest turn itself
    uint64_t hail = 0;        // with this
    uint64_t yields_to = 0;   // as published
};

// A tenant cannot have applied what was never granted to it, whatever its page says.
uint32_t believed_grant(const VNpu& vnpu, const Tenant& tenant);
// Nothing that it launched under a grant older than this is on the device: as it says, and no later than some time
// after that grant was applied.
uint32_t believed_clear(const VNpu& vnpu, Tenant& tenant, int64_t now_ns);
// It has launched in the vNPU's newest turn.
bool has_entered(const VNpu& vnpu, const Tenant& tenant);
// It has not launched in that turn, or nothing of it is left. A turn that was never opened counts for nothing.
bool has_drained(const VNpu& vnpu, const Tenant& tenant);
bool waits(const VNpu& vnpu, const Tenant& tenant);

uint64_t launches_of(const VNpu& vnpu);
uint64_t busy_of(const VNpu& vnpu);
uint32_t rings_of(const VNpu& vnpu);
void write_turn(VNpu& vnpu, uint64_t word);

// Keeps the earlier of two waits; 0 is never.
int64_t sooner(int64_t a_ns, int64_t b_ns);

}  // namespace flexnpu
