/* SPDX-License-Identifier: Apache-2.0 */
// A modelled device that does one thing at a time, and tenants that play the gate's protocol on it: a virtual clock, no
// threads. schedule() is driven as the arbiter drives it, with the delays that waking a process takes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "arbiter/schedule.h"

namespace flexnpu {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1000 * kMs;

inline TurnView sharing(uint32_t share, uint32_t priority = 0, bool fixed = false) {
    TurnView view;
    view.share = share;
    view.priority = priority;
    view.fixed = fixed;
    return view;
}

struct Load {
    TurnView view;                // share, fixed, priority
    std::vector<int64_t> ops_ns;  // launched round and round
    int64_t on_ns = 0;            // it works for so long,
    int64_t off_ns = 0;           // then pauses for so long; 0: it never pauses
    int64_t from_ns = 0;
    int64_t off_until_ns = INT64_MAX;  // after that it does not pause any more
};

// [from, until): the device worked for the tenant.
struct Work {
    size_t tenant;
    int64_t from_ns, until_ns;
};

class SerialDevice {
  public:
    static constexpr int64_t kWakeNs = 50'000;    // from the word to the process that waits for it
    static constexpr int64_t kNoticeNs = 30'000;  // from the end of the last operator to the arbiter
    static constexpr int64_t kShortWhileNs = 100'000;

    // `hails`: who would go first stops the others and launches at once; the arbiter hears of it later. `stalls`: of
    // the host, so many of a thousand wake-ups come late, by up to `most_ns`, most of them by little.
    struct Stalls {
        uint32_t in_thousand = 0;
        int64_t most_ns = 0;
        uint32_t seed = 0;
    };
    explicit SerialDevice(std::vector<Load> loads, bool hails = false)
        : SerialDevice(std::move(loads), Stalls{}, hails) {}
    SerialDevice(std::vector<Load> loads, Stalls stalls, bool hails = false)
        : hails_(hails), stalls_(stalls), random_(stalls.seed) {
        for (Load& load : loads) {
            views_.push_back(load.view);
            tenants_.push_back({std::move(load), 0, 0, 0, false, 0, 0, 0});
        }
        for (size_t i = 0; i < tenants_.size(); ++i) at(tenants_[i].load.from_ns, [this, i] { begin(i); });
    }

    void run(int64_t until_ns) {
        while (!events_.empty() && events_.begin()->first.first <= until_ns) {
            const auto event = events_.begin();
            now_ = event->first.first;
            const std::function<void()> what = std::move(event->second);
            events_.erase(event);
            what();
        }
        now_ = until_ns;
    }

    const std::vector<Work>& work() const { return work_; }
    const std::vector<TurnView>& views() const { return views_; }
    // Of each waiting that was served: from the wish to launch until the device worked for it.
    const std::vector<int64_t>& waits(size_t tenant) const { return waits_.at(tenant); }

    // Of a stretch of time, what the host's stalls took for a tenant: its own, and those of others while they had the
    // turn.
    int64_t stalled(size_t tenant, int64_t from_ns, int64_t until_ns) const {
        int64_t sum = 0, counted_ns = from_ns;
        for (const Stall& stall : stalls_of_all_) {
            const int64_t end = tenant == stall.tenant ? stall.until_ns : stall.turn_until_ns;
            const int64_t until = std::min(end, until_ns), from = std::max(stall.from_ns, counted_ns);
            sum += std::max<int64_t>(until - from, 0);
            counted_ns = std::max(counted_ns, until);
        }
        return sum;
    }

    int64_t busy(size_t tenant, int64_t from_ns, int64_t until_ns) const {
        int64_t sum = 0;
        for (const Work& each : work_) {
            const int64_t length = std::min(each.until_ns, until_ns) - std::max(each.from_ns, from_ns);
            if (each.tenant == tenant) sum += std::max<int64_t>(length, 0);
        }
        return sum;
    }

  private:
    struct Stall {
        size_t tenant;
        int64_t from_ns, until_ns;
        int64_t turn_until_ns;  // no later than its turn
    };

    struct Tenant {
        Load load;
        size_t next_op;
        int64_t in_flight_ns;
        size_t in_flight;
        bool entered;
        uint64_t turn;     // counts its own turns
        uint64_t busy_ns;  // in this turn
        int64_t wished_ns;
    };

    void at(int64_t time_ns, std::function<void()> what) {
        events_.emplace(std::pair{std::max(time_ns, now_), sequence_++}, std::move(what));
    }

    // Whether it has work at this moment.
    bool wants(size_t i) const {
        const Load& load = tenants_[i].load;
        if (now_ < load.from_ns) return false;
        return load.off_ns == 0 || now_ >= load.off_until_ns ||
               (now_ - load.from_ns) % (load.on_ns + load.off_ns) < load.on_ns;
    }

    void begin(size_t i) {
        Tenant& tenant = tenants_[i];
        if (tenant.load.off_ns != 0) at(now_ + tenant.load.on_ns + tenant.load.off_ns, [this, i] { begin(i); });
        ask(i);
    }

    // Launches, or waits at the gate.
    void ask(size_t i) {
        Tenant& tenant = tenants_[i];
        if (!wants(i)) return;
        if (tenant.entered && views_[i].turn == Turn::open) return launch(i);
        if (standby_ == i) return come(i);
        if (views_[i].waiting) return;
        tenant.wished_ns = now_;
        at(now_ + kNoticeNs, [this, i] {
            if (tenants_[i].entered && views_[i].turn == Turn::open) return;
            set_waiting(views_, i, true, now_);
            react();
        });
    }

    // Opens its turn itself.
    void come(size_t i) {
        standby_ = kNobody;
        came_ = i;
        tenants_[i].entered = true;
        tenants_[i].wished_ns = now_;
        ++tenants_[i].turn;
        launch(i);
        at(now_ + kNoticeNs, [this, i] {
            for (size_t other = 0; other < views_.size(); ++other) {
                if (views_[other].turn == Turn::open) close(other);
            }
            open_turn(views_, i, now_);
            came_ = kNobody;
            launch(i);
            react();
        });
    }

    bool may_launch(size_t i) const { return came_ != kNobody ? came_ == i : views_[i].turn == Turn::open; }

    int64_t budget(size_t i) const {
        for (const TurnView& other : views_) {
            if (other.priority > views_[i].priority) return 100'000;
        }
        const int64_t half = std::clamp<int64_t>(slice_ns(views_, i, true) / 2, 100'000, 2'000'000);
        const CatchUp behind = catch_up(views_, now_);
        return behind.at == i ? std::max(half, std::min<int64_t>(behind.ns, 5'000'000)) : half;
    }

    void launch(size_t i) {
        Tenant& tenant = tenants_[i];
        while (wants(i) && may_launch(i)) {
            const int64_t op = tenant.load.ops_ns[tenant.next_op % tenant.load.ops_ns.size()];
            if (tenant.in_flight > 0 && tenant.in_flight_ns + op > budget(i)) return;
            ++tenant.next_op;
            ++tenant.in_flight;
            tenant.in_flight_ns += op;
            queue_.push_back({i, op});
            work_off();
        }
    }

    void work_off() {
        if (working_ || queue_.empty()) return;
        working_ = true;
        const auto [i, length] = queue_.front();
        queue_.pop_front();
        if (tenants_[i].wished_ns >= 0) waits_[i].push_back(now_ - tenants_[i].wished_ns);
        tenants_[i].wished_ns = -1;
        work_.push_back({i, now_, now_ + length});
        at(now_ + length, [this, i = i, length = length] { over(i, length); });
    }

    void over(size_t i, int64_t length) {
        Tenant& tenant = tenants_[i];
        working_ = false;
        --tenant.in_flight;
        tenant.in_flight_ns -= length;
        tenant.busy_ns += static_cast<uint64_t>(length);
        if (may_launch(i)) launch(i);
        work_off();
        if (tenant.in_flight > 0) return;
        const bool closing = views_[i].turn == Turn::closing;
        const uint64_t turn = tenant.turn;
        at(now_ + (closing ? kNoticeNs : kShortWhileNs + kNoticeNs), [this, i, turn] { leave(i, turn); });
    }

    // The meter's word that nothing of the turn is left.
    void leave(size_t i, uint64_t turn) {
        const Tenant& tenant = tenants_[i];
        if (tenant.turn != turn || tenant.in_flight > 0 || views_[i].turn == Turn::none) return;
        if (views_[i].turn == Turn::open) {
            if (wants(i) || !is_contended(views_, i)) return;
            close_turn(views_, i, now_);
        }
        end(i);
        react();
    }

    void end(size_t i) {
        std::optional<uint64_t> used_ns;
        if (std::exchange(tenants_[i].entered, false)) used_ns = std::exchange(tenants_[i].busy_ns, 0);
        end_turn(views_, i, used_ns, now_);
    }

    void react() {
        for (TurnPlan plan = schedule(views_, now_);; plan = schedule(views_, now_)) {
            if (plan.empty()) {
                appoint();
                const uint64_t look = ++look_;
                if (plan.look_again_ns > 0)
                    at(now_ + plan.look_again_ns, [this, look] {
                        if (look == look_) react();
                    });
                return;
            }
            for (const size_t i : plan.close) close(i);
            if (plan.extend) extend_turn(views_, *plan.extend, now_);
            if (plan.open) open(*plan.open);
        }
    }

    void appoint() {
        standby_ = kNobody;
        for (size_t i = 0; hails_ && came_ == kNobody && i < views_.size(); ++i) {
            if (!may_come_first(views_, i, now_)) continue;
            if (standby_ == kNobody || views_[i].priority > views_[standby_].priority) standby_ = i;
        }
    }

    void close(size_t i) {
        close_turn(views_, i, now_);
        const Tenant& tenant = tenants_[i];
        if (!tenant.entered) {
            if (!stalls_of_all_.empty() && stalls_of_all_.back().tenant == i) {
                int64_t& until_ns = stalls_of_all_.back().turn_until_ns;
                until_ns = std::min(until_ns, now_);
            }
            return end(i);
        }
        if (wants(i)) ask(i);
        if (tenant.in_flight > 0) return;
        at(now_ + kWakeNs, [this, i, turn = tenant.turn] { leave(i, turn); });
    }

    int64_t wake_ns(size_t i) {
        if (random_() % 1000 >= stalls_.in_thousand) return kWakeNs;
        const double part = std::uniform_real_distribution<>()(random_);
        const auto late = static_cast<int64_t>(part * part * part * static_cast<double>(stalls_.most_ns));
        stalls_of_all_.push_back({i, now_ + kWakeNs, now_ + kWakeNs + late, now_ + kWakeNs + late});
        return kWakeNs + late;
    }

    // It has missed its turn.
    void ring_late(size_t i) {
        at(now_ + kNoticeNs, [this, i] {
            if (views_[i].turn != Turn::none) return;
            come_late(views_, i);
            react();
        });
    }

    void open(size_t i) {
        open_turn(views_, i, now_);
        const uint64_t turn = ++tenants_[i].turn;
        at(now_ + wake_ns(i), [this, i, turn] {
            if (tenants_[i].turn != turn) return;
            if (views_[i].turn != Turn::open) return ring_late(i);
            tenants_[i].entered = true;
            set_waiting(views_, i, false, now_);
            launch(i);
            if (tenants_[i].in_flight == 0) at(now_ + kShortWhileNs, [this, i, turn] { leave(i, turn); });
        });
    }

    static constexpr size_t kNobody = SIZE_MAX;
    const bool hails_;
    const Stalls stalls_;
    std::vector<Stall> stalls_of_all_;  // by when they began
    std::mt19937 random_;
    size_t standby_ = kNobody, came_ = kNobody;
    int64_t now_ = 0;
    uint64_t sequence_ = 0, look_ = 0;
    std::map<std::pair<int64_t, uint64_t>, std::function<void()>> events_;
    std::vector<TurnView> views_;
    std::vector<Tenant> tenants_;
    std::deque<std::pair<size_t, int64_t>> queue_;
    bool working_ = false;
    std::vector<Work> work_;
    std::map<size_t, std::vector<int64_t>> waits_;
};

}  // namespace flexnpu
