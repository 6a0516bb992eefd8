// SPDX-License-Identifier: Apache-2.0
//
// One iteration on some of a device's cores, alone or beside another: its operators' rows and attention, added up.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "forecast/attention.h"
#include "forecast/load.h"
#include "forecast/rows.h"

namespace flexnpu {

// What of a load a table of rows is asked by.
enum class Asks : uint8_t { tokens, logits, readers, keys };

struct Table {
    std::shared_ptr<Rows> rows;
    Asks asks;
};

// `window`: how far attention looks back, where it has an end. At no cores everything takes for ever; more than the
// device has are out of range.
class Iteration {
  public:
    Iteration(std::vector<Table> tables, std::shared_ptr<Attention> attention, std::optional<double> window);

    double seconds(uint32_t cores, const Load& load) const;
    // By cores, from none on; as many as `seconds` holds.
    void alone(const Load& load, std::span<double> seconds) const;
    // Both side by side, by decode's cores; prefill has the rest. Beside one without cores the other has the device to
    // itself.
    void split(const Load& prefill, const Load& decode, std::span<double> first, std::span<double> second) const;
    std::pair<double, double> beside(uint32_t prefill_cores, const Load& prefill, uint32_t decode_cores,
                                     const Load& decode) const;
    // Each of the next iterations, as many as `seconds` holds; every running request grows by a token in each. As if
    // all came to the window's end together: a load does not know who has.
    void steps(uint32_t cores, const Load& load, std::span<double> seconds) const;

  private:
    // take(rows, what they are asked by) for every table that the load asks, in order.
    template <class Take>
    void each_table(const Load& load, Take take) const;
    double tables_alone(uint32_t cores, const Load& load) const;
    Row by_cores(const Load& load) const;
    Single single(uint32_t cores, const Load& load) const;
    void within(std::size_t counts) const;

    std::vector<Table> tables_;
    std::shared_ptr<Attention> attention_;
    std::optional<double> window_;
    std::size_t counts_;  // of cores, none included
};

}  // namespace flexnpu
