// SPDX-License-Identifier: Apache-2.0
#include "simulator/prompts.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace flexnpu::simulator {

void Admitted::add(RequestPtr request) {
    admissions_[request->index] = next_;
    requests_.emplace(next_++, std::move(request));
}

void Admitted::remove(const Request& request) {
    const auto found = admissions_.find(request.index);
    if (found == admissions_.end()) throw std::invalid_argument("the request holds nothing on this device");
    requests_.erase(found->second);
    admissions_.erase(found);
}

RequestPtr Admitted::take_newest() {
    const auto newest =
        std::find_if(requests_.rbegin(), requests_.rend(), [](const auto& each) { return each.second->flying == 0; });
    if (newest == requests_.rend()) throw std::logic_error("blocks are short, and nobody can be preempted");
    RequestPtr request = newest->second;
    remove(*request);
    return request;
}

std::vector<RequestPtr> Admitted::all() const {
    std::vector<RequestPtr> requests;
    for (const auto& [_, request] : requests_) requests.push_back(request);
    return requests;
}

std::vector<RequestPtr> Prompts::shown() const {
    std::vector<RequestPtr> found;
    for (const RequestPtr& each : half_run_) {
        if (each->target > done(*each)) found.push_back(each);
    }
    return found;
}

void Prompts::put(RequestPtr request) {
    tokens_ += request->target;
    changes_ += 1;
    waiting_.push_back(std::move(request));
}

void Prompts::put_back(RequestPtr request, double now) {
    if (request->computed < request->target) {
        std::erase(half_run_, request);
        tokens_ -= request->target - request->computed;
    }
    request->computed = 0;
    request->target = request->prompt + request->generated;
    if (request->generated > 0) request->since = now;
    tokens_ += request->target;
    changes_ += 1;
    waiting_.push_front(std::move(request));
}

void Prompts::reorder(std::span<const uint32_t> order, std::size_t among) {
    const std::vector<RequestPtr> half = shown();
    among = std::min(among, waiting_.size());
    std::vector<bool> named(half.size() + among);
    std::vector<RequestPtr> halves, waiting;
    bool first = true;
    ahead_ = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
        const uint32_t place = order[i];
        if (place >= named.size() || named[place]) {
            throw std::invalid_argument("a plan's order names place " + std::to_string(place) +
                                        (place < named.size() ? " twice" : ", which was not shown"));
        }
        named[place] = true;
        if (place >= half.size()) {
            waiting.push_back(waiting_[place - half.size()]);
            continue;
        }
        if (std::exchange(first, false)) ahead_ = i;
        halves.push_back(half[place]);
    }
    for (std::size_t place = half.size(); place < named.size(); ++place) {
        if (!named[place]) waiting.push_back(std::move(waiting_[place - half.size()]));
    }
    std::move(waiting.begin(), waiting.end(), waiting_.begin());
    if (halves.empty()) return;
    for (RequestPtr& each : half_run_) {
        if (std::find(halves.begin(), halves.end(), each) == halves.end()) halves.push_back(std::move(each));
    }
    half_run_ = std::move(halves);
}

Chunks Prompts::fill(int64_t budget, int64_t room, KvCache& kv, Admitted& admitted) {
    Chunks chunks;
    int64_t tokens = 0, seen = 0;
    double pairs = 0.0;  // whole numbers up to 2^53, and beyond what an int64_t holds
    std::size_t place = 0;
    while (budget > 0) {
        if (ahead_ > 0 || place == half_run_.size()) {
            if (room > 0 && fits(budget, chunks.parts.empty()) && admit(kv, admitted, place)) {
                room -= 1;
            } else if (place == half_run_.size()) {
                break;
            } else {
                ahead_ = 0;  // it finds no room now: the others need not wait for that
            }
        }
        const RequestPtr& request = half_run_[place++];
        const int64_t cached = request->computed;
        const int64_t fresh = std::min(budget, request->target - cached);
        chunks.parts.push_back({request, fresh});
        budget -= fresh;
        tokens += fresh;
        const auto whole = static_cast<double>(fresh);
        pairs += whole * static_cast<double>(cached) + whole * (whole + 1.0) / 2.0;
        seen += fresh + cached;
    }
    const auto count = static_cast<double>(chunks.parts.size());
    chunks.load = {static_cast<double>(tokens), count, pairs, static_cast<double>(seen), 0.0, 0.0, count};
    return chunks;
}

// Whether the first who waits may be in this iteration; alone, a prompt beyond the budget is cut after all.
bool Prompts::fits(int64_t budget, bool first) const {
    return !waiting_.empty() && (first || !whole_ || waiting_.front()->target <= budget);
}

bool Prompts::admit(KvCache& kv, Admitted& admitted, std::size_t place) {
    if (refused(kv)) return false;
    if (!kv.admit(*waiting_.front())) {
        refuse(kv);
        return false;
    }
    RequestPtr request = std::move(waiting_.front());
    waiting_.pop_front();
    if (ahead_ > 0) ahead_ -= 1;
    tokens_ -= request->computed;
    changes_ += 1;
    if (request->cached < 0) request->cached = request->computed;
    half_run_.insert(half_run_.begin() + static_cast<std::ptrdiff_t>(place), request);
    admitted.add(std::move(request));
    return true;
}

bool Prompts::stuck(const KvCache& kv) const {
    if (refused(kv)) return true;
    if (waiting_.empty() || kv.fits(*waiting_.front())) return false;
    refuse(kv);
    return true;
}

bool Prompts::refused(const KvCache& kv) const {
    return !waiting_.empty() && refusal_.index == waiting_.front()->index && kv.free() <= refusal_.free &&
           kv.version() == refusal_.version;
}

void Prompts::refuse(const KvCache& kv) const { refusal_ = {waiting_.front()->index, kv.free(), kv.version()}; }

std::vector<RequestPtr> Prompts::ran(const Chunks& chunks, int64_t iterations, KvCache& kv) {
    std::vector<RequestPtr> complete;
    for (const auto& [request, tokens] : chunks.parts) {
        request->computed += tokens * iterations;
        tokens_ -= tokens * iterations;
        kv.computed(*request);
        if (request->computed >= request->target) complete.push_back(request);
    }
    if (!complete.empty()) {
        std::erase_if(half_run_, [](const RequestPtr& each) { return each->computed >= each->target; });
    }
    return complete;
}

}  // namespace flexnpu::simulator
