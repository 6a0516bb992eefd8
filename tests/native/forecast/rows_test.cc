// SPDX-License-Identifier: Apache-2.0
// Rows and the lines between them, against a list of every grid point.
#include "forecast/rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>

#include "seeds.h"

namespace flexnpu {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kRounded = 1e-12;  // relative
constexpr uint32_t kCores = 3;

// Seconds that rise in steps at a few numbers of tokens, and are flat between them: the worst that a line can meet.
class Stairs {
  public:
    Stairs(Draw& draw, double most) {
        for (int64_t left = draw.whole(1, 30); left > 0; --left) {
            heights_[std::pow(most, draw.real(0.0, 1.0))] += draw.real(0.0, 1.0);
        }
    }
    double at(double tokens) const {
        double sum = 0;
        for (const auto& [from, height] : heights_) sum += tokens >= from ? height : 0.0;
        return sum;
    }
    Row row(double tokens) const {
        Row row(kCores + 1);
        row.alone[0] = row.held[0] = kInfinite;
        for (uint32_t i = 1; i <= kCores; ++i) {
            row.alone[i] = at(tokens) / i;
            row.held[i] = 1.5 * row.alone[i];
        }
        row.traffic = 0.25 * at(tokens), row.links = 0.125 * at(tokens);
        return row;
    }
    // A row at a time, noting what was asked.
    Rows::Fill fill(std::vector<double>* asked = nullptr) const {
        return [*this, asked](double tokens, double, const Rows::Put& put) {
            if (asked) asked->push_back(tokens);
            put(tokens, row(tokens));
        };
    }

  private:
    std::map<double, double> heights_;
};

// Every point up to `last`: whole numbers under `exact`, then 2^fine to each doubling.
std::vector<double> points(const Grid& grid, double last) {
    std::vector<double> found;
    for (double each = 0; each < grid.exact; ++each) found.push_back(each);
    for (double start = grid.exact; start < last; start *= 2) {
        const double many = std::exp2(grid.fine);
        for (double each = 0; each < many; ++each) found.push_back(start + start * each / many);
    }
    found.push_back(last);
    return found;
}

Grid drawn_grid(Draw& draw) {
    const auto exact = static_cast<int>(draw.whole(0, 6)), fine = static_cast<int>(draw.whole(0, 5));
    const double last = std::exp2(exact + draw.whole(1, 4));
    return {std::exp2(exact), fine, draw.once_in(2) ? kInfinite : last};
}

void expect_near(const Single& one, const Single& two) {
    EXPECT_NEAR(one.alone, two.alone, kRounded * two.alone);
    EXPECT_NEAR(one.held, two.held, kRounded * two.held);
    EXPECT_NEAR(one.traffic, two.traffic, kRounded * two.traffic);
    EXPECT_NEAR(one.links, two.links, kRounded * two.links);
}

Single of(const Row& row, uint32_t cores) { return {row.alone[cores], row.held[cores], row.traffic, row.links}; }

TEST(Rows, are_the_fills_own_at_every_grid_point) {
    for_seeds(60, [](Draw& draw) {
        const Stairs stairs(draw, 1000);
        const Grid grid = drawn_grid(draw);
        Rows rows(stairs.fill(), kCores, grid);
        for (const double each : points(grid, std::min(grid.last, 1024.0))) {
            const Single found = rows.single(each, 2), own = each > 0 ? of(stairs.row(each), 2) : Single{};
            ASSERT_EQ(found.alone, own.alone) << each;
            ASSERT_EQ(found.held, own.held) << each;
            ASSERT_EQ(found.traffic, own.traffic) << each;
            ASSERT_EQ(found.links, own.links) << each;
        }
    });
}

TEST(Rows, are_joined_by_straight_lines) {
    for_seeds(200, [](Draw& draw) {
        const Stairs stairs(draw, 1000);
        const Grid grid = drawn_grid(draw);
        Rows rows(stairs.fill(), kCores, grid);
        const double last = std::min(grid.last, 1024.0), tokens = std::pow(last, draw.real(-0.2, 1.0));
        double below = 0, above = 0;
        for (const double each : points(grid, last)) {
            if (each <= tokens) below = each;
            if (each > tokens && above == 0) above = each;
        }
        ASSERT_GT(above, below) << tokens;
        const Single low = below > 0 ? of(stairs.row(below), 3) : Single{}, high = of(stairs.row(above), 3);
        const auto line = [&](double from, double to) {
            return from + (to - from) * (tokens - below) / (above - below);
        };
        expect_near(rows.single(tokens, 3), {line(low.alone, high.alone), line(low.held, high.held),
                                             line(low.traffic, high.traffic), line(low.links, high.links)});
    });
}

TEST(Rows, never_fall_where_the_fill_does_not) {
    for_seeds(100, [](Draw& draw) {
        const Stairs stairs(draw, 3000);
        Rows rows(stairs.fill(), kCores, drawn_grid(draw));
        std::vector<double> tokens{0.0};
        for (int i = 0; i < 300; ++i) tokens.push_back(std::pow(4000.0, draw.real(-0.2, 1.0)));
        std::sort(tokens.begin(), tokens.end());
        Single before;
        for (const double each : tokens) {
            const Single found = rows.single(each, 1);
            ASSERT_GE(found.alone, before.alone * (1 - kRounded)) << each;
            ASSERT_GE(found.held, before.held * (1 - kRounded)) << each;
            ASSERT_GE(found.traffic, before.traffic * (1 - kRounded)) << each;
            before = found;
        }
    });
}

TEST(Rows, grow_in_proportion_past_the_last_one) {
    for_seeds(20, [](Draw& draw) {
        const Stairs stairs(draw, 100);
        Rows rows(stairs.fill(), kCores, {16, 3, 128});
        const Single last = rows.single(128, 1);
        const double times = draw.real(1.0, 1e6);
        expect_near(rows.single(128 * times, 1),
                    {last.alone * times, last.held * times, last.traffic * times, last.links * times});
    });
}

TEST(Rows, are_added_for_all_core_counts_as_one_by_one) {
    for_seeds(100, [](Draw& draw) {
        const Stairs stairs(draw, 1000);
        Rows rows(stairs.fill(), kCores, drawn_grid(draw));
        Row sum(kCores + 1);
        Single plain[kCores + 1];
        for (int i = 0; i < 3; ++i) {
            const double tokens = draw.once_in(3) ? static_cast<double>(draw.whole(0, 64)) : draw.real(0.0, 2000.0);
            rows.add(tokens, sum);
            for (uint32_t cores = 0; cores <= kCores; ++cores) {
                const Single one = rows.single(tokens, cores);
                Single& all = plain[cores];
                all = {all.alone + one.alone, all.held + one.held, all.traffic + one.traffic, all.links + one.links};
            }
        }
        for (uint32_t cores = 1; cores <= kCores; ++cores) expect_near(of(sum, cores), plain[cores]);
        EXPECT_EQ(sum.alone[0], plain[0].alone);
    });
}

TEST(Rows, are_filled_once_each_and_only_when_asked_for) {
    for_seeds(40, [](Draw& draw) {
        const Stairs stairs(draw, 1000);
        std::vector<double> asked;
        Rows rows(stairs.fill(&asked), kCores, drawn_grid(draw));
        for (int i = 0; i < 200; ++i) {
            const size_t before = asked.size();
            rows.single(draw.real(0.0, 1500.0), 1);
            EXPECT_LE(asked.size(), before + 2) << "at most the rows below and above";
        }
        std::sort(asked.begin(), asked.end());
        EXPECT_EQ(std::adjacent_find(asked.begin(), asked.end()), asked.end());
    });
}

TEST(Rows, that_a_fill_gives_beside_the_asked_one_are_not_asked_for_again) {
    Draw draw(1);
    const Stairs stairs(draw, 100);
    std::vector<double> asked, steps;
    Rows rows(
        [&](double tokens, double step, const Rows::Put& put) {
            asked.push_back(tokens), steps.push_back(step);
            for (int i = -1; i <= 4; ++i) put(tokens + i * step, stairs.row(tokens + i * step));
        },
        kCores, {64, 3, 512});
    for (const double tokens : {10.0, 9.0, 13.5, 14.0, 64.0, 96.0, 80.0, 100.0, 300.0, 700.0}) rows.single(tokens, 1);
    EXPECT_EQ(asked, (std::vector<double>{10, 64, 104, 288, 512}));
    EXPECT_EQ(steps, (std::vector<double>{1, 8, 8, 32, 64})) << "to the next row";
}

TEST(Rows, of_no_tokens_take_no_time_whatever_the_fill_says) {
    Draw draw(1);
    const Stairs stairs(draw, 100);
    Rows rows(
        [&](double tokens, double, const Rows::Put& put) {
            put(tokens, stairs.row(tokens));
            put(0.0, stairs.row(1000));
        },
        kCores, {64, 3, kInfinite});
    EXPECT_EQ(rows.single(100, 1).alone, stairs.at(100));
    expect_near(rows.single(0.0, 1), {});
    expect_near(rows.single(-0.0, 1), {});
}

TEST(Rows, refuse_what_is_no_number_of_tokens_or_of_cores) {
    Draw draw(1);
    Rows rows(Stairs(draw, 100).fill(), kCores, {64, 3, kInfinite});
    Row sum(kCores + 1);
    for (const double bad : {-1.0, -1e-300, kInfinite, std::nan("")}) {
        EXPECT_THROW(rows.single(bad, 1), std::invalid_argument) << bad;
        EXPECT_THROW(rows.add(bad, sum), std::invalid_argument) << bad;
    }
    EXPECT_THROW(rows.single(7, kCores + 1), std::out_of_range);
    EXPECT_THROW(rows.single(0, std::numeric_limits<uint32_t>::max()), std::out_of_range);
}

// Between 100, a row of its own, and 101, where rows of four begin, a line would fall.
TEST(Rows, refuse_a_grid_on_which_what_rises_could_fall) {
    Draw draw(1);
    const Rows::Fill fill = Stairs(draw, 100).fill();
    for (const Grid& bad : {Grid{101, 4, kInfinite}, Grid{0.5, 4, kInfinite}, Grid{0, 4, kInfinite},
                            Grid{64, -1, kInfinite}, Grid{64, 4, 1001}, Grid{64, 4, 10.5}, Grid{64, 4, 0}}) {
        EXPECT_THROW(Rows(fill, kCores, bad), std::invalid_argument) << bad.exact << " " << bad.fine << " " << bad.last;
    }
    for (const Grid& good : {Grid{1, 0, kInfinite}, Grid{64, 4, 992}, Grid{64, 4, 10}, Grid{4, 8, 4.5}}) {
        EXPECT_NO_THROW(Rows(fill, kCores, good)) << good.exact << " " << good.fine << " " << good.last;
    }
}

TEST(Rows, what_a_fill_throws_comes_through_and_it_is_asked_again) {
    Draw draw(1);
    const Stairs stairs(draw, 100);
    bool broken = true;
    Rows rows(
        [&](double tokens, double, const Rows::Put& put) {
            if (broken) throw std::domain_error("no such operator");
            put(tokens, stairs.row(tokens));
        },
        kCores, {64, 3, kInfinite});
    EXPECT_THROW(rows.single(9, 1), std::domain_error);
    broken = false;
    EXPECT_EQ(rows.single(9, 1).alone, stairs.at(9));
}

TEST(Rows, a_row_of_another_number_of_cores_is_refused) {
    const auto fill = [](double tokens, double, const Rows::Put& put) { put(tokens, Row(kCores)); };
    EXPECT_THROW(Rows(fill, kCores, {64, 3, kInfinite}).single(9, 1), std::invalid_argument);
}

TEST(Rows, a_fill_that_leaves_the_asked_row_out_is_an_error) {
    Rows rows([](double, double, const Rows::Put&) {}, kCores, {64, 3, kInfinite});
    EXPECT_THROW(rows.single(9, 1), std::out_of_range);
}

}  // namespace
}  // namespace flexnpu
