// SPDX-License-Identifier: Apache-2.0
#include "device/model.h"

#include <algorithm>

namespace softnpu {
namespace {

constexpr double kComputeEfficiency = 0.77;   // fp16 GEMM 8192^3 on a 910B2
constexpr double kBandwidthEfficiency = 0.7;  // M=1 GEMMs stream weights at 1.06 to 1.19 of 1.6 TB/s
// Reading alone, the L2 of a 910B gives three to four times what the HBM does (CANN 8.5, Ascend C best practices, L2
// tiling).
constexpr double kL2OverHbm = 3.5;
// A cube-bound loop on 25, 50, 75 % of the cores ran 3.49, 1.83, 1.27 times slower (910B); this gives 3.51, 1.83, 1.27.
constexpr double kComputeBend = 0.185;
// Half the cores cost decode-type operators 1.23 to 1.57 times (A3); this gives 1.4.
constexpr double kBandwidthBend = 0.857;

// x (1 + bend (1 - x)): 0 at no cores, 1 at all, concave and rising for bend <= 1.
double saturation(double share, double bend) { return share * (1.0 + bend * (1.0 - share)); }

double share_of(const Soc& soc, uint32_t blocks) {
    return static_cast<double>(std::clamp(blocks, 1u, soc.cube_cores)) / soc.cube_cores;
}

}  // namespace

double compute_seconds(const Soc& soc, const Cost& cost, uint32_t blocks) {
    const double curve = kComputeEfficiency * saturation(share_of(soc, blocks), kComputeBend);
    const double cube = cost.cube_flops / (soc.cube_flops_per_s * cost.cube_rate * curve);
    const double vector = cost.vector_flops / (soc.vector_flops_per_s * curve);
    const double link = cost.link_bytes / soc.host_bytes_per_s;
    const double peers = cost.peer_bytes / soc.peer_bytes_per_s;
    return std::max({cube, vector, link, peers});
}

double bandwidth(const Soc& soc, const Cost& cost, uint32_t blocks) {
    return total_bandwidth(soc) * (cost.unit == Unit::copy ? 1.0 : saturation(share_of(soc, blocks), kBandwidthBend));
}

double l2_bandwidth(const Soc& soc, const Cost& cost, uint32_t blocks) {
    return kL2OverHbm * bandwidth(soc, cost, blocks);
}

double total_bandwidth(const Soc& soc) { return soc.hbm_bytes_per_s * kBandwidthEfficiency; }

double modelled_seconds(const Soc& soc, const Cost& cost, uint32_t blocks) {
    return std::max(compute_seconds(soc, cost, blocks), cost.hbm_bytes / bandwidth(soc, cost, blocks)) + cost.fixed_s;
}

}  // namespace softnpu
