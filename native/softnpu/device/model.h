// SPDX-License-Identifier: Apache-2.0
//
// How long a task takes on a number of cores: a roofline whose two roofs saturate with the cores. Pure.
#pragma once

#include <cstdint>

#include "soc/soc.h"

namespace softnpu {

enum class Unit : uint8_t {
    cube,
    vector,
    mix,   // cube and vector work of one operator, side by side
    copy,  // DMA, to the host or inside HBM: no cores
};

struct Cost {
    Unit unit;
    double cube_flops;
    double vector_flops;
    double hbm_bytes;   // of its operands, wherever they lie
    double link_bytes;  // to or from the host
    double peer_bytes;  // to or from other devices
    double fixed_s;
    double cube_rate;  // peak of the data type relative to fp16: fp32 0.25, int8 2
};

// Seconds of the task by its computing alone, and bytes per second that it can move, on `blocks` cores.
double compute_seconds(const Soc& soc, const Cost& cost, uint32_t blocks);
double bandwidth(const Soc& soc, const Cost& cost, uint32_t blocks);
// Of what lies in the L2. Not shared: it is wider than all cores together ask for.
double l2_bandwidth(const Soc& soc, const Cost& cost, uint32_t blocks);
// Of the whole device, shared by what runs side by side.
double total_bandwidth(const Soc& soc);

// Alone on the device, with nothing in the L2.
double modelled_seconds(const Soc& soc, const Cost& cost, uint32_t blocks);

}  // namespace softnpu
