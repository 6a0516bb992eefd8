// SPDX-License-Identifier: Apache-2.0
//
// One device of the pool: its queues, its cache, its plan, and the runner that is at work.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "simulator/decoding.h"
#include "simulator/kv.h"
#include "simulator/lanes.h"
#include "simulator/mixed.h"
#include "simulator/planning.h"
#include "simulator/prompts.h"
#include "simulator/rounds.h"
#include "simulator/settings.h"
#include "simulator/times.h"

namespace flexnpu::simulator {

// What a device did.
struct Counters {
    int64_t turns = 0;
    int64_t mixed = 0;     // iterations with prompts in them, on the whole device
    int64_t prefills = 0;  // iterations of a prefill lane
    int64_t steps = 0;     // decode steps, those in mixed iterations included
    int64_t preemptions = 0;
    int64_t switches = 0;
    int64_t plans = 0;
    int64_t kv_peak = 0;
};

enum class RunnerKind : uint8_t { mixed, rounds, lanes };

// Which runner carries a plan out.
RunnerKind runner_of(const Plan& plan);

// State that all runners work on, and what they do alike. `times` and `policy` outlive it.
class Device {
  public:
    Device(Settings settings, Times& times, Policy& policy, std::optional<Looks> looks,
           std::shared_ptr<Answers> answers);
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    // --- from the pool ---

    double next_seconds() const { return next_seconds_; }
    // A request that has arrived.
    void put(RequestPtr request, double now);
    // One whose keys and values, in so many blocks, have arrived from another device; they were taken beforehand.
    void put_decoding(RequestPtr request, int64_t blocks, double now);
    // Blocks have become free from outside.
    void wake(double now);
    // Blocks that somebody from outside may take.
    int64_t free_blocks(double now) const;
    // Requests that hold KV, or whose caches are on their way here.
    int64_t running() const { return static_cast<int64_t>(admitted.size()) + coming_; }
    // Blocks for a cache that is coming.
    void take(int64_t blocks, double now);
    // Books what is over, and starts what comes next. std::logic_error after a turn that did not come to its end, since
    // what it had half booked would be booked again, and inside of one.
    void turn(double now);
    // Requests that are over since it was last asked.
    std::vector<RequestPtr> take_finished();
    // On a device that does not decode: those whose prompt is complete since it was last asked.
    std::vector<RequestPtr> take_handed();
    // Gives the request's blocks back.
    void leave(Request& request);
    // Whoever is still here, its tokens up to date.
    std::vector<RequestPtr> all_requests();
    BusyCores busy_cores() const;

    bool decodes = true;

    // --- for runners ---

    const Settings settings;
    Times& times;
    KvCache kv;
    Prompts prompts;
    Decoding decoding;
    Admitted admitted;
    Counters counters;
    Planning planning;

    // Decode is between two steps: who waits for that joins, as many as there is room for.
    void join();
    // Whether anybody joins decode when its step under way is over.
    bool joins() const;
    std::size_t joining() const { return joining_.size(); }
    // Makes room for decode's next step; true when requests had to be preempted for it, newest first.
    bool secure(double now);
    // What the prompts put into the next iteration.
    Chunks chunks(int64_t budget, bool admit);
    // So many iterations with these chunks are over.
    void prompts_ran(const Chunks& chunks, int64_t iterations, double now);
    // Steps have been booked: takes out who has its last token.
    void decodes_ran();
    // Seconds of each of decode's next steps, alone on so many cores.
    void decode_steps(uint32_t cores, int64_t count, std::vector<double>& seconds);
    // The least that a decode step takes: the launch of its graph, or of its kernels where there is none.
    double decode_floor(uint32_t cores) const;
    // Nobody who waits can be admitted before a request finishes.
    bool blocked() const;
    // There are prompts to run, beyond what a lane has in flight.
    bool prompted() const;

  private:
    // Of decode's steps: seconds of which batch on which cores, from which step on.
    struct Forecast {
        int64_t changes = -1;
        uint32_t cores = 0;
        int64_t from = 0;
        std::vector<double> seconds;
    };

    void begin(double now);
    void woken(double now);
    Runner& runner_for(const Plan& plan);
    int64_t room() const;
    void preempt(RequestPtr request, double now);
    void over(RequestPtr request);

    double next_seconds_ = kInfinite;
    bool turning_ = false;
    int64_t coming_ = 0;                     // caches on their way here
    std::vector<RequestPtr> joining_;        // whose prompt is complete, until decode's next boundary
    int64_t joined_step_ = -1, joined_ = 0;  // before which of decode's steps how many have joined
    std::vector<RequestPtr> finished_, handed_;
    Forecast forecast_;
    Mixed mixed_;
    Rounds rounds_;
    Lanes lanes_;
    Runner* runner_ = nullptr;
};

}  // namespace flexnpu::simulator
