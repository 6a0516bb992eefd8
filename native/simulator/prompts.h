// SPDX-License-Identifier: Apache-2.0
//
// Prompts of one device: who waits, who is half run, and the chunks of the next iteration.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <vector>

#include "forecast/load.h"
#include "simulator/kv.h"
#include "simulator/request.h"

namespace flexnpu::simulator {

// Who holds KV, newest last.
class Admitted {
  public:
    std::size_t size() const { return requests_.size(); }
    void add(RequestPtr request);
    // std::invalid_argument for one who does not.
    void remove(const Request& request);
    // Takes out the newest that has nothing in flight; std::logic_error where there is none.
    RequestPtr take_newest();
    std::vector<RequestPtr> all() const;

  private:
    std::map<uint64_t, RequestPtr> requests_;  // by admission
    std::map<int64_t, uint64_t> admissions_;   // by index
    uint64_t next_ = 0;
};

struct Chunk {
    RequestPtr request;
    int64_t tokens;
};

// What the prompts put into one iteration.
struct Chunks {
    std::vector<Chunk> parts;
    Load load;
};

// First come, first served, unless a policy orders otherwise; half-run prompts go before those who wait.
class Prompts {
  public:
    // whole: prompts are never cut. in_full: to policies, what is in flight counts as if it were still to run.
    explicit Prompts(bool whole, bool in_full = false) : whole_(whole), in_full_(in_full) {}

    bool empty() const { return waiting_.empty() && half_run_.empty(); }
    std::size_t size() const { return waiting_.size() + half_run_.size(); }
    const std::deque<RequestPtr>& waiting() const { return waiting_; }
    const std::vector<RequestPtr>& half_run() const { return half_run_; }
    // Of the half-run ones, those that a policy sees: not all of their tokens are done,
    std::vector<RequestPtr> shown() const;
    // by what counts as done.
    int64_t done(const Request& request) const { return request.computed + (in_full_ ? 0 : request.flying); }
    // Still to be computed, prefix reuse not foreseen.
    int64_t tokens() const { return tokens_; }
    // Of the queue: how often a request came, was admitted or was put back.
    int64_t changes() const { return changes_; }

    void put(RequestPtr request);
    // A preempted request: it goes first and computes all that it had again.
    void put_back(RequestPtr request, double now);
    // Who goes first, as places in what a policy sees: shown(), then the first `among` who wait. Those who are not
    // named follow as before. std::invalid_argument for a place that was not shown, or is named twice.
    void reorder(std::span<const uint32_t> order, std::size_t among);
    // Chunks of at most `budget` tokens; at most `room` requests are admitted, as long as their blocks are free.
    Chunks fill(int64_t budget, int64_t room, KvCache& kv, Admitted& admitted);
    // Whether the first who waits would be refused blocks.
    bool stuck(const KvCache& kv) const;
    // So many iterations of the chunks are over: books them, and takes out those whose prompt is complete.
    std::vector<RequestPtr> ran(const Chunks& chunks, int64_t iterations, KvCache& kv);

  private:
    // Who was refused blocks, with how many free and what cached.
    struct Refusal {
        int64_t index = -1, free = -1, version = -1;
    };

    bool fits(int64_t budget, bool first) const;
    bool admit(KvCache& kv, Admitted& admitted, std::size_t place);
    // Whether the first who waits has been refused blocks and nothing has changed for the better.
    bool refused(const KvCache& kv) const;
    void refuse(const KvCache& kv) const;

    const bool whole_, in_full_;
    std::deque<RequestPtr> waiting_;
    std::vector<RequestPtr> half_run_;
    int64_t tokens_ = 0, changes_ = 0;
    std::size_t ahead_ = 0;    // of those who wait, how many a policy wants before the half-run ones
    mutable Refusal refusal_;  // so that it is not looked up again
};

}  // namespace flexnpu::simulator
