// SPDX-License-Identifier: Apache-2.0
//
// What two phases that run side by side make of memory's bandwidth: flexnpu/forecast/contention.py has the equations.
#pragma once

#include <algorithm>

namespace flexnpu {

constexpr double kHalf = 0.5;  // of the device's bandwidth: the least that a neighbour leaves

// The part of the time in which a neighbour takes half, by the mean part of the bandwidth that it draws.
inline double part_met(double demand) { return std::min(1.0, demand / kHalf); }

// Seconds of an iteration whose neighbour takes half of the bandwidth in the part `met` of the time.
inline double busy(double alone, double held, double met) { return alone * (held / (held - met * (held - alone))); }

}  // namespace flexnpu
