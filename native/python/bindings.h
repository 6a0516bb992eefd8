// SPDX-License-Identifier: Apache-2.0
//
// What the files of flexnpu._native have in common: columns of numbers and sums of requests, as Python has them.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <initializer_list>
#include <span>

#include "forecast/load.h"

namespace flexnpu {

// A column of float64 that Python holds on to: read with any stride, written only where it is in one piece.
class Column {
  public:
    explicit Column(nanobind::handle array, bool written = false);
    Column(const Column&) = delete;
    Column& operator=(const Column&) = delete;
    ~Column() { PyBuffer_Release(&view_); }

    std::size_t size() const { return static_cast<std::size_t>(view_.shape[0]); }
    double operator[](std::size_t place) const {
        const char* at = static_cast<const char*>(view_.buf) + static_cast<std::ptrdiff_t>(place) * view_.strides[0];
        return *reinterpret_cast<const double*>(at);
    }
    std::span<double> all() const { return {static_cast<double*>(view_.buf), size()}; }

  private:
    Py_buffer view_{};
};

// ValueError unless all have as many entries as the first.
void check_lengths(std::initializer_list<const Column*> columns);

// From and to flexnpu.forecast.load.Load, a tuple of seven numbers.
Load load_of(nanobind::handle load);
nanobind::object to_python(const Load& load);

void bind_forecast(nanobind::module_& m);
void bind_planner(nanobind::module_& m);
void bind_simulator(nanobind::module_& m);

}  // namespace flexnpu
