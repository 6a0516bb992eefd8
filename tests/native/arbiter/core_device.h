/* SPDX-License-Identifier: Apache-2.0 */
// A modelled device of cores, the arbiter's own steps, and engines that tile, launch, drain and acknowledge as
// libflexnpu.so does: by a virtual clock, on real pages.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arbiter/arbitration.h"

namespace flexnpu {

// What an engine does: steps of so many operators, each of which takes work_ns / cores + fixed_ns; a step comes
// period_ns after the one before came, or, with 0, as soon as that is launched.
struct EngineLoad {
    int64_t work_ns = 0, fixed_ns = 0;
    uint32_t operators = 1;
    int64_t period_ns = 0;
    uint32_t ahead = 8;  // operators that it launches beyond the one that runs, where nothing else bounds them
};

class CoreDevice {
  public:
    static constexpr uint32_t kCores = 24;
    static constexpr int64_t kWakeNs = 50'000;    // from a word on a page to the process that waits for it
    static constexpr int64_t kNoticeNs = 30'000;  // from a bell to the arbiter
    static constexpr int64_t kHostNs = 20'000;    // from the tiling of an operator to its launch
    static constexpr int64_t kLullNs = 100'000;   // without work before a turn that others want is given up

    void add(VNpuId id, const Quota& quota, const EngineLoad& load) {
        Engine& engine = engines_.emplace_back(id, load);
        VNpu vnpu;
        vnpu.page = engine.control;
        vnpu.quota = quota;
        arbitration_.restore(id, std::move(vnpu), {}, 0, now_);
        arbitration_.attach(id, engine.report, 0, true);
        step();
        at(now_, [this, &engine] { begin(engine); });
    }

    void change(const std::vector<Change>& changes) {
        arbitration_.change(changes, now_);
        step();
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

    int64_t now() const { return now_; }
    VNpuState state(VNpuId id) const { return arbitration_.state(id); }

    // The longest time since the last call in which this engine had an operator to launch, or launched, and none of it
    // ran; the longest operator that ran.
    int64_t take_pause(VNpuId id) { return std::exchange(engine(id).pause_ns, 0); }
    int64_t longest_operator(VNpuId id) { return engine(id).longest_ns; }
    int64_t busy(VNpuId id) { return engine(id).busy_ns; }
    // The most cores that engines could have launched work on at once, at any moment so far: at an open gate what they
    // are granted and have tiled; the others the largest of these, one at a time.
    uint32_t most_at_once() const { return most_at_once_; }
    // Operators that were launched although the arbiter had said that their grant was out of use.
    uint32_t late_launches() const { return late_launches_; }

  private:
    struct Operator {
        uint32_t grant, cores;
        int64_t ns;
    };
    struct Engine {
        Engine(VNpuId id_, const EngineLoad& load_) : id(id_), load(load_) {
            const auto map = [](int fd, int rights) {
                return mmap(nullptr, FLEXNPU_PAGE_SIZE, rights, MAP_SHARED, fd, 0);
            };
            granted = &static_cast<flexnpu_control_page*>(map(control->fd(), PROT_READ))->devices[0];
            said = &static_cast<flexnpu_report_page*>(map(report->fd(), PROT_READ | PROT_WRITE))->devices[0];
        }
        Engine(const Engine&) = delete;
        Engine& operator=(const Engine&) = delete;

        bool has_work() const { return tiled.has_value() || !stream.empty(); }

        const VNpuId id;
        const EngineLoad load;
        const std::shared_ptr<ControlPage> control =
            std::make_shared<ControlPage>("v" + std::to_string(id), std::vector<uint32_t>{0});
        const std::shared_ptr<ReportPage> report = std::make_shared<ReportPage>(0);
        const flexnpu_control_device* granted = nullptr;
        flexnpu_report_device* said = nullptr;

        uint32_t left = 0;  // operators of its steps that are not tiled yet
        std::optional<Operator> tiled;
        bool at_gate = false;
        std::deque<Operator> stream;  // launched; the first one may run
        bool runs = false;
        int64_t in_flight_ns = 0, came_ns = 0;
        uint64_t entered = 0, drained = 0;

        int64_t idle_from_ns = 0, pause_ns = 0, longest_ns = 0, busy_ns = 0;
    };

    void at(int64_t time_ns, std::function<void()> what) {
        events_.emplace(std::pair{std::max(time_ns, now_), sequence_++}, std::move(what));
    }
    Engine& engine(VNpuId id) {
        return *std::find_if(engines_.begin(), engines_.end(), [id](const Engine& each) { return each.id == id; });
    }

    // --- the arbiter ---

    void step() {
        const int64_t look_ns = arbitration_.step(now_).look_again_ns;
        const uint64_t look = ++look_;
        if (look_ns > 0)
            at(now_ + look_ns, [this, look] {
                if (look == look_) step();
            });
        count();
        for (Engine& engine : engines_) at(now_ + kWakeNs, [this, &engine] { wake(engine); });
    }
    void ring() {
        at(now_ + kNoticeNs, [this] { step(); });
    }

    void count() {
        uint32_t any_time = 0, in_turn = 0;
        for (const Engine& engine : engines_) {
            uint32_t cores = flexnpu_quota_cube(engine.granted->quota);
            if (engine.tiled) cores = std::max(cores, engine.tiled->cores);
            if (engine.granted->turn == FLEXNPU_TURN_FREE) any_time += cores;
            if (engine.granted->turn != FLEXNPU_TURN_FREE) in_turn = std::max(in_turn, cores);
        }
        most_at_once_ = std::max(most_at_once_, any_time + in_turn);
    }

    // --- an engine's program ---

    void begin(Engine& engine) {
        engine.left += engine.load.operators;
        if (engine.load.period_ns > 0) at(now_ + engine.load.period_ns, [this, &engine] { begin(engine); });
        tile(engine);
    }

    void tile(Engine& engine) {
        if (engine.tiled || engine.left == 0) return;
        const uint64_t word = engine.granted->quota;
        const uint32_t cores = flexnpu_quota_cube(word);
        if (!engine.has_work()) engine.idle_from_ns = now_;
        engine.tiled = {flexnpu_quota_grant(word), cores, engine.load.work_ns / cores + engine.load.fixed_ns};
        --engine.left;
        at(now_ + kHostNs, [this, &engine] { ask(engine); });
    }

    void ask(Engine& engine) {
        if (!engine.tiled) return;
        const uint64_t turn = engine.granted->turn;
        if (turn == FLEXNPU_TURN_FREE) {
            stop_waiting(engine);
            if (engine.stream.size() <= engine.load.ahead) launch(engine);
            return;
        }
        if (!enter(engine, turn)) return wait(engine);
        stop_waiting(engine);
        const auto bound = static_cast<int64_t>(engine.granted->in_flight_ns);
        if (engine.stream.empty() || engine.in_flight_ns + engine.tiled->ns <= bound) launch(engine);
    }

    bool enter(Engine& engine, uint64_t turn) {
        const uint64_t number = flexnpu_turn_number(turn);
        if ((turn & FLEXNPU_TURN_OPEN) == 0 || number == engine.drained) return false;
        engine.said->turn_entered = engine.entered = number;
        return true;
    }

    void wait(Engine& engine) {
        if (engine.at_gate) return;
        engine.at_gate = true;
        engine.said->waiting = 1;
        ring();
    }
    void stop_waiting(Engine& engine) {
        engine.at_gate = false;
        engine.said->waiting = 0;
    }

    void launch(Engine& engine) {
        if (state(engine.id).applied_revision == state(engine.id).desired_revision &&
            engine.tiled->grant < state(engine.id).grant_number) {
            ++late_launches_;
        }
        engine.stream.push_back(*engine.tiled);
        engine.in_flight_ns += engine.tiled->ns;
        engine.tiled.reset();
        ++engine.said->launches[FLEXNPU_LAUNCH_KERNEL];
        if (engine.stream.size() == 1) engine.came_ns = now_;
        if (engine.left == 0 && engine.load.period_ns == 0) engine.left = engine.load.operators;
        tile(engine);
        acknowledge(engine);
        work();
    }

    // --- its threads of ours ---

    void wake(Engine& engine) {
        acknowledge(engine);
        ask(engine);
        drain(engine);
    }

    // Nothing tiled under an older grant is left to launch.
    void acknowledge(Engine& engine) {
        const uint32_t grant = flexnpu_quota_grant(engine.granted->quota);
        if (engine.said->applied_grant == grant || (engine.tiled && engine.tiled->grant < grant)) return;
        engine.said->applied_grant = grant;
        clear(engine);
        ring();
    }

    // Nor is anything of it on the device.
    void clear(Engine& engine) {
        const uint64_t grant = engine.said->applied_grant;
        if (engine.said->cleared_grant == grant) return;
        for (const Operator& each : engine.stream) {
            if (each.grant < grant) return;
        }
        engine.said->cleared_grant = grant;
        ring();
    }

    void drain(Engine& engine) {
        const uint64_t turn = engine.granted->turn;
        if (engine.entered == engine.drained || !engine.stream.empty()) return;
        const bool inside = (turn & FLEXNPU_TURN_OPEN) != 0 && flexnpu_turn_number(turn) == engine.entered;
        if (!inside) return leave(engine);
        if ((turn & FLEXNPU_TURN_CONTENDED) == 0 || engine.tiled) return;
        at(now_ + kLullNs, [this, &engine, number = engine.entered] {
            if (engine.entered == number && engine.drained != number && !engine.has_work()) leave(engine);
        });
    }
    void leave(Engine& engine) {
        engine.said->turn_drained = engine.drained = engine.entered;
        ring();
    }

    // --- the device: streams in order, each operator when its cores are free, who came first goes first ---

    void work() {
        for (;;) {
            Engine* next = nullptr;
            uint32_t used = 0;
            for (Engine& engine : engines_) {
                if (engine.runs) used += engine.stream.front().cores;
                if (engine.runs || engine.stream.empty()) continue;
                if (next == nullptr || engine.came_ns < next->came_ns) next = &engine;
            }
            if (next == nullptr || used + next->stream.front().cores > kCores) return;
            start(*next);
        }
    }

    void start(Engine& engine) {
        const int64_t ns = engine.stream.front().ns;
        engine.runs = true;
        engine.pause_ns = std::max(engine.pause_ns, now_ - engine.idle_from_ns);
        engine.longest_ns = std::max(engine.longest_ns, ns);
        at(now_ + ns, [this, &engine] { end(engine); });
    }

    void end(Engine& engine) {
        engine.busy_ns += engine.stream.front().ns;
        engine.in_flight_ns -= engine.stream.front().ns;
        engine.stream.pop_front();
        engine.runs = false;
        engine.idle_from_ns = engine.came_ns = now_;
        work();
        clear(engine);
        ask(engine);
        drain(engine);
    }

    Arbitration arbitration_{{kCores, 2 * kCores}, DispatchMode::fair, 0};
    int64_t now_ = 1'000'000'000;
    uint64_t sequence_ = 0, look_ = 0;
    std::map<std::pair<int64_t, uint64_t>, std::function<void()>> events_;
    std::list<Engine> engines_;
    uint32_t most_at_once_ = 0, late_launches_ = 0;
};

}  // namespace flexnpu
