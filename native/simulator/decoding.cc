// SPDX-License-Identifier: Apache-2.0
#include "simulator/decoding.h"

#include <algorithm>
#include <numeric>

namespace flexnpu::simulator {
namespace {

constexpr std::size_t kEnds = 1024;  // to begin with

int64_t remainder(int64_t value, int64_t of) { return (value % of + of) % of; }

int64_t blocks_of(int64_t tokens, int64_t block) { return (tokens + block - 1) / block; }

}  // namespace

Decoding::Decoding(int64_t block_tokens, double ttft, double itl)
    : block_(block_tokens), ttft_(ttft), itl_(itl), opens_(static_cast<std::size_t>(block_tokens)), ends_(kEnds) {}

std::vector<RequestPtr> Decoding::members() const {
    std::vector<RequestPtr> found;
    for (const auto& [_, request] : members_) found.push_back(request);
    return found;
}

Load Decoding::load() const {
    const auto count = static_cast<double>(sequences());
    return {0.0, 0.0, 0.0, 0.0, count, static_cast<double>(seen_), count};
}

void Decoding::join(RequestPtr request) {
    request->length = request->computed;
    request->join_step = step_;
    request->finish_step = step_ + request->output - request->generated;
    request->residue = remainder(step_ - request->length, block_);
    opens_[static_cast<std::size_t>(request->residue)] += 1;
    changes_ += 1;
    seen_ += request->length + 1;
    seat(*request);
    due_.emplace(request->finish_step, request->index);
    members_.emplace(request->index, std::move(request));
}

void Decoding::leave(const RequestPtr& request) {
    const int64_t steps = step_ - request->join_step;
    // Later steps ran for nothing.
    const int64_t taken = std::min(steps, request->finish_step - request->join_step);
    if (taken > 0) {
        const auto first = ends_.begin() + (request->join_step - base_);
        std::vector<double>& gaps = request->gaps;
        gaps.push_back(*first - request->last_token);
        for (auto end = first + 1; end != first + taken; ++end) gaps.push_back(*end - *(end - 1));
        request->last_token = *(first + taken - 1);
        request->generated += taken;
    }
    const int64_t length = request->length + steps;
    request->held += blocks_of(length, block_) - blocks_of(request->length, block_);
    request->length = request->computed = length;
    opens_[static_cast<std::size_t>(request->residue)] -= 1;
    changes_ += 1;
    seen_ -= length + 1;
    unseat(*request);
    members_.erase(request->index);
}

void Decoding::seat(Request& request) {
    const bool late = request.first_token - request.arrival > ttft_;
    const auto tokens = static_cast<double>(request.generated - 1 - step_);
    request.slot = slots_.size();
    slots_.push_back(&request);
    behind_.push_back(late ? kInfinite : request.first_token + tokens * itl_);
}

void Decoding::unseat(const Request& request) {
    slots_[request.slot] = slots_.back();
    slots_[request.slot]->slot = request.slot;
    behind_[request.slot] = behind_.back();
    slots_.pop_back();
    behind_.pop_back();
}

void Decoding::credits(double now, std::span<double> seconds) const {
    const double since = static_cast<double>(step_) * itl_ - now;
    std::transform(behind_.begin(), behind_.end(), seconds.begin(), [since](double behind) { return behind + since; });
}

RequestPtr Decoding::first_due() {
    const auto [finish_step, index] = due_.top();
    const auto found = members_.find(index);
    if (found != members_.end() && found->second->finish_step == finish_step) return found->second;
    due_.pop();
    return nullptr;
}

int64_t Decoding::until_finish() {
    while (true) {
        if (const RequestPtr request = first_due()) return request->finish_step - step_;
    }
}

std::vector<RequestPtr> Decoding::finish() {
    std::vector<RequestPtr> done;
    while (!due_.empty() && due_.top().first <= step_) {
        RequestPtr request = first_due();
        if (!request) continue;
        due_.pop();
        leave(request);
        done.push_back(std::move(request));
    }
    return done;
}

int64_t Decoding::blocks(int64_t steps) const {
    const int64_t first = step_ % block_;
    if (steps == 1) return opens_[static_cast<std::size_t>(first)];
    const int64_t rounds = steps / block_, rest = steps % block_;
    const auto begin = opens_.begin();
    const int64_t end = std::min(first + rest, block_);
    const int64_t beyond = std::max<int64_t>(first + rest - block_, 0);  // what the last round has of the block's start
    return rounds * sequences() + std::accumulate(begin + first, begin + end, int64_t{0}) +
           std::accumulate(begin, begin + beyond, int64_t{0});
}

int64_t Decoding::affordable(int64_t free, int64_t most) const {
    if (blocks(most) <= free) return most;
    const int64_t rounds = free / sequences();
    int64_t steps = rounds * block_, left = free - rounds * sequences();
    while (true) {
        left -= opens_[static_cast<std::size_t>((step_ + steps) % block_)];
        if (left < 0) return std::min(steps, most);
        steps += 1;
    }
}

void Decoding::advance(std::span<const double> ends) {
    auto place = static_cast<std::size_t>(step_ - base_);
    if (place + ends.size() > ends_.size()) place = make_room(ends.size());
    std::copy(ends.begin(), ends.end(), ends_.begin() + static_cast<std::ptrdiff_t>(place));
    step_ += static_cast<int64_t>(ends.size());
    seen_ += static_cast<int64_t>(ends.size()) * sequences();
}

// Drops the ends that nobody needs any more; grows only when that frees less than half.
std::size_t Decoding::make_room(std::size_t count) {
    int64_t oldest = step_;
    for (const auto& [_, request] : members_) oldest = std::min(oldest, request->join_step);
    const auto kept = static_cast<std::size_t>(step_ - oldest);
    std::size_t size = ends_.size();
    while (kept + count > size / 2) size *= 2;
    std::vector<double> ends(size);
    const auto from = ends_.begin() + (oldest - base_);
    std::copy(from, from + static_cast<std::ptrdiff_t>(kept), ends.begin());
    ends_ = std::move(ends);
    base_ = oldest;
    return kept;
}

}  // namespace flexnpu::simulator
