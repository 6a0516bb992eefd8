// SPDX-License-Identifier: Apache-2.0
//
// The decode batch of one lane, kept so that many steps can be taken at once.
//
// Every request of the batch gets one token per step. So the step a request ends at is known when it joins, and so is,
// by the remainder of its length, each step at which it opens a new KV block. Steps are numbered; their ends are kept
// for as long as a request that was there still runs, which gives each request its gaps exactly.
#pragma once

#include <cstdint>
#include <queue>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "forecast/load.h"
#include "simulator/request.h"

namespace flexnpu::simulator {

class Decoding {
  public:
    // ttft, itl: targets.
    Decoding(int64_t block_tokens, double ttft, double itl);

    int64_t sequences() const { return static_cast<int64_t>(members_.size()); }
    // Keys that the next step reads, the new tokens' included.
    int64_t seen() const { return seen_; }
    int64_t step() const { return step_; }
    // How often a request came or left.
    int64_t changes() const { return changes_; }
    bool has(const Request& request) const { return members_.contains(request.index); }
    std::vector<RequestPtr> members() const;
    // The next step.
    Load load() const;

    // A request with `computed` tokens in the cache and its latest token not yet in it.
    void join(RequestPtr request);
    // Out of the batch; its length, blocks, tokens and gaps are up to date afterwards.
    void leave(const RequestPtr& request);
    // Seconds by which each request is ahead of its mean ITL target; infinite where the TTFT target is missed.
    void credits(double now, std::span<double> seconds) const;

    // Steps until the next request has its last token; the batch is not empty.
    int64_t until_finish();
    // Takes out all who have their last token.
    std::vector<RequestPtr> finish();
    // New KV blocks that the next steps open.
    int64_t blocks(int64_t steps) const;
    // How many of the next `most` steps `free` blocks suffice for.
    int64_t affordable(int64_t free, int64_t most) const;
    // Steps that were taken, by their ends.
    void advance(std::span<const double> ends);

  private:
    using Due = std::pair<int64_t, int64_t>;  // the step, and whose last token it makes, by index

    void seat(Request& request);
    void unseat(const Request& request);
    std::size_t make_room(std::size_t count);
    // Whoever is first due, if it is still here; else it is dropped from the line.
    RequestPtr first_due();

    const int64_t block_;
    const double ttft_, itl_;
    int64_t seen_ = 0, step_ = 0, changes_ = 0;
    std::unordered_map<int64_t, RequestPtr> members_;  // by index
    std::vector<int64_t> opens_;  // requests by the remainder of the steps at which they open a block
    std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;  // who was preempted is still in it
    std::vector<double> ends_;                                        // of steps base_, base_ + 1, ...
    int64_t base_ = 0;
    std::vector<Request*> slots_;  // in no order; a request knows its place
    // What a request is behind at step 0: credit = behind + step x target - now.
    std::vector<double> behind_;
};

}  // namespace flexnpu::simulator
