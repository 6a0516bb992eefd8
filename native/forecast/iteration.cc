// SPDX-License-Identifier: Apache-2.0
//
// Two phases side by side share memory's bandwidth and the links to other devices; flexnpu/forecast/contention.py has
// the equations.
#include "forecast/iteration.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "forecast/contention.h"

namespace flexnpu {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

double asked(const Load& load, Asks asks) {
    switch (asks) {
        case Asks::tokens:
            return load.tokens();
        case Asks::logits:
            return load.logits;
        case Asks::readers:
            return load.readers();
        case Asks::keys:
            return load.prefill_seen;
    }
    return 0.0;
}

double slowed(const Single& mine, const Single& other) {
    if (mine.alone == 0.0 || other.alone == 0.0 || std::isinf(mine.alone)) return mine.alone;
    const double seconds = busy(mine.alone, mine.held, part_met(other.traffic / other.alone));
    return seconds + mine.links * std::min(1.0, other.links / other.alone);
}

// The same on every split: mine at `places`, the other on the rest.
struct Side {
    const Row& row;
    std::size_t total;
    bool rest;

    double alone(std::size_t split) const { return row.alone[place(split)]; }
    double held(std::size_t split) const { return row.held[place(split)]; }
    std::size_t place(std::size_t split) const { return rest ? total - split : split; }
};

void contended(const Side& mine, const Side& other, std::span<double> seconds) {
    const std::size_t total = mine.total;
    const double traffic = other.row.traffic / kHalf, links = mine.row.links;
    const bool shared = mine.row.traffic != 0.0 && other.row.traffic != 0.0;
    const bool linked = links != 0.0 && other.row.links != 0.0;
    for (std::size_t split = 0; split <= total; ++split) {
        seconds[split] = mine.alone(split);
        // At the first and the last one of them has no cores, and so no effect on the other.
        if (shared && split > 0 && split < total) {
            seconds[split] = busy(mine.alone(split), mine.held(split), std::min(1.0, traffic / other.alone(split)));
        }
        if (linked) seconds[split] += links * std::min(1.0, other.row.links / other.alone(split));
    }
}

}  // namespace

Iteration::Iteration(std::vector<Table> tables, std::shared_ptr<Attention> attention, std::optional<double> window)
    : tables_(std::move(tables)), attention_(std::move(attention)), window_(window) {
    if (tables_.empty()) throw std::invalid_argument("an iteration has one table of rows at least");
    counts_ = tables_.front().rows->cores() + 1;
    for (const Table& table : tables_) {
        if (table.rows->cores() + 1 != counts_) throw std::invalid_argument("tables of rows are of one device");
    }
}

template <class Take>
void Iteration::each_table(const Load& load, Take take) const {
    for (const auto& [rows, asks] : tables_) {
        if (asks == Asks::logits && load.logits == 0.0) continue;
        take(*rows, asked(load, asks));
    }
}

double Iteration::tables_alone(uint32_t cores, const Load& load) const {
    double total = 0.0;
    each_table(load, [&](Rows& rows, double tokens) { total += rows.single(tokens, cores).alone; });
    return total;
}

double Iteration::seconds(uint32_t cores, const Load& load) const {
    if (cores == 0) return kForever;
    return tables_alone(cores, load) + attention_->seconds(load, cores);
}

void Iteration::alone(const Load& load, std::span<double> seconds) const {
    within(seconds.size());
    const Row row = by_cores(load);
    std::copy_n(row.alone.begin(), seconds.size(), seconds.begin());
}

void Iteration::split(const Load& prefill, const Load& decode, std::span<double> first,
                      std::span<double> second) const {
    within(first.size());
    if (second.size() != first.size()) throw std::invalid_argument("both phases are asked for the same divisions");
    const Row one = by_cores(prefill), two = by_cores(decode);
    const std::size_t total = first.size() - 1;
    const Side prompts{one, total, true}, running{two, total, false};
    contended(prompts, running, first);
    contended(running, prompts, second);
}

std::pair<double, double> Iteration::beside(uint32_t prefill_cores, const Load& prefill, uint32_t decode_cores,
                                            const Load& decode) const {
    const Single one = single(prefill_cores, prefill), two = single(decode_cores, decode);
    return {slowed(one, two), slowed(two, one)};
}

void Iteration::steps(uint32_t cores, const Load& load, std::span<double> seconds) const {
    within(std::size_t{cores} + 1);
    if (cores == 0) {
        std::fill(seconds.begin(), seconds.end(), kForever);
        return;
    }
    for (std::size_t i = 0; i < seconds.size(); ++i) {
        seconds[i] = static_cast<double>(i) * load.decode_sequences + load.decode_seen;
        if (window_) seconds[i] = std::min(seconds[i], load.decode_sequences * *window_);
    }
    const double steady = load.tokens() > 0.0 ? tables_alone(cores, load) : 0.0;
    attention_->steps(load, cores, seconds);
    for (double& each : seconds) each += steady;
}

Row Iteration::by_cores(const Load& load) const {
    Row sum(counts_);
    if (load.tokens() > 0.0) {
        each_table(load, [&](Rows& rows, double tokens) { rows.add(tokens, sum); });
        const Row attention = attention_->by_cores(load);
        if (attention.alone.size() != counts_ || attention.held.size() != counts_) {
            throw std::invalid_argument("attention is of another device than the tables of rows");
        }
        for (std::size_t i = 0; i < counts_; ++i) {
            sum.alone[i] += attention.alone[i];
            sum.held[i] += attention.held[i];
        }
        sum.traffic += attention.traffic;
    }
    sum.alone[0] = kForever;
    return sum;
}

Single Iteration::single(uint32_t cores, const Load& load) const {
    within(std::size_t{cores} + 1);
    if (cores == 0) return {kForever, kForever};
    if (load.tokens() == 0.0) return {};
    Single found = attention_->single(load, cores);
    each_table(load, [&](Rows& rows, double tokens) {
        const Single more = rows.single(tokens, cores);
        found.alone += more.alone;
        found.held += more.held;
        found.traffic += more.traffic;
        found.links += more.links;
    });
    return found;
}

void Iteration::within(std::size_t counts) const {
    if (counts < 1 || counts > counts_) throw std::out_of_range("more cores than the device has");
}

}  // namespace flexnpu
