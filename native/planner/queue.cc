// SPDX-License-Identifier: Apache-2.0
#include "planner/queue.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <stdexcept>
#include <utility>

namespace flexnpu {
namespace {

// One device runs prompts one after the other; the fewest are late when they go by deadline and, whenever one would be
// late, the longest of those before it is put off: of two that are alike the later one.
std::vector<bool> fewest_late(const Prompts& prompts, std::span<const uint32_t> by_deadline, double pace,
                              double guard) {
    std::vector<bool> late(by_deadline.size());
    std::vector<std::pair<double, std::size_t>> on;  // a heap, the longest first
    double total = 0.0;
    for (std::size_t place = 0; place < by_deadline.size(); ++place) {
        const Prompt& each = prompts[by_deadline[place]];
        total += each.work;
        on.emplace_back(each.work, place);
        std::push_heap(on.begin(), on.end());
        if (total <= pace * (each.slack - guard)) continue;
        std::pop_heap(on.begin(), on.end());
        total -= on.back().first;
        late[on.back().second] = true;
        on.pop_back();
    }
    return late;
}

void known(bool found) {
    if (!found) throw std::out_of_range("nobody in the queue is of that entry");
}

}  // namespace

Line::Line(std::shared_ptr<const Prompts> prompts, Places places)
    : prompts_(std::move(prompts)), places_(std::move(places)) {}

std::pair<Load, double> Line::take(double tokens) {
    tokens = std::max(tokens, 0.0);
    while (sums_.back().tokens < tokens && sums_.size() <= places_.size()) {
        const Prompt& next = (*prompts_)[places_[sums_.size() - 1]];
        Sums sums = sums_.back();
        sums.tokens += next.fresh;
        sums.pairs += next.fresh * next.cached + next.fresh * (next.fresh + 1.0) / 2.0;
        sums.seen += next.fresh + next.cached;
        sums_.push_back(sums);
    }
    const auto beyond = std::upper_bound(sums_.begin(), sums_.end(), tokens,
                                         [](double wanted, const Sums& sums) { return wanted < sums.tokens; });
    const auto whole = static_cast<std::size_t>(beyond - sums_.begin()) - 1;
    const auto [end, pairs, seen] = sums_[whole];
    const double left = tokens - end, prompts = static_cast<double>(whole);
    if (left < 1.0 || whole == places_.size()) return {{end, prompts, pairs, seen, 0.0, 0.0, prompts}, end};
    const double cached = (*prompts_)[places_[whole]].cached;
    const double more = left * cached + left * (left + 1.0) / 2.0;
    return {{end + left, prompts + 1.0, pairs + more, seen + left + cached, 0.0, 0.0, prompts}, tokens};
}

Queue::Queue(Prompts prompts) : prompts_(std::make_shared<const Prompts>(std::move(prompts))) {
    plain_ = true;
    uint32_t last = 0;
    for (std::size_t place = 0; place < size(); ++place) {
        const uint32_t entry = (*prompts_)[place].entry;
        if (entry < last) throw std::invalid_argument("entries of a queue go up");
        plain_ = plain_ && entry == place;
        last = entry;
    }
}

double Queue::work() const {
    return std::accumulate(prompts_->begin(), prompts_->end(), 0.0,
                           [](double sum, const Prompt& each) { return sum + each.work; });
}

bool Queue::on_time(double pace, double guard) const {
    double total = 0.0;
    for (const Prompt& each : *prompts_) {
        total += each.work;
        if (total > pace * (each.slack - guard)) return false;
    }
    return true;
}

Order Queue::order(double pace, double guard, std::size_t look) const {
    const Prompts& all = *prompts_;
    Places by_deadline(all.size()), lost;
    std::iota(by_deadline.begin(), by_deadline.end(), 0);
    std::stable_sort(by_deadline.begin(), by_deadline.end(),
                     [&](uint32_t one, uint32_t two) { return all[one].slack - guard < all[two].slack - guard; });
    Order order;
    Places chances;
    for (const uint32_t place : by_deadline) {
        const bool over = all[place].work > pace * (all[place].slack - guard);
        (over ? lost : chances).push_back(place);
    }
    const std::size_t seen = std::min(look, chances.size());
    const std::vector<bool> late = fewest_late(all, std::span(chances).first(seen), pace, guard);
    for (std::size_t i = 0; i < seen; ++i) (late[i] ? order.late : order.kept).push_back(chances[i]);
    order.kept.insert(order.kept.end(), chances.begin() + static_cast<std::ptrdiff_t>(seen), chances.end());
    order.late.insert(order.late.end(), lost.begin(), lost.end());
    return order;
}

Places Queue::entries(const Order& order) const {
    Places found = order.kept;
    found.insert(found.end(), order.late.begin(), order.late.end());
    if (plain_) return found;
    std::vector<bool> named(prompts_->back().entry + 1);
    Places once;
    for (const uint32_t place : found) {
        const uint32_t entry = (*prompts_)[place].entry;
        if (!named[entry]) once.push_back(entry);
        named[entry] = true;
    }
    return once;
}

Line Queue::line(const Places& entries) const {
    if (plain_) {
        for (const uint32_t entry : entries) known(entry < size());
        return {prompts_, entries};
    }
    Places places;
    for (const uint32_t entry : entries) {
        auto each = std::lower_bound(prompts_->begin(), prompts_->end(), entry,
                                     [](const Prompt& one, uint32_t wanted) { return one.entry < wanted; });
        known(each != prompts_->end() && each->entry == entry);
        for (; each != prompts_->end() && each->entry == entry; ++each) {
            places.push_back(static_cast<uint32_t>(each - prompts_->begin()));
        }
    }
    return {prompts_, std::move(places)};
}

Line Queue::line() const {
    Places places(size());
    std::iota(places.begin(), places.end(), 0);
    return {prompts_, std::move(places)};
}

}  // namespace flexnpu
