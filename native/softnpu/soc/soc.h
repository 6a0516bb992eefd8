// SPDX-License-Identifier: Apache-2.0
//
// Ascend SoCs as the software NPU models them. Core counts, clocks and HBM are the published ones.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace softnpu {

struct Soc {
    const char* name;  // as aclrtGetSocName gives it
    uint32_t cube_cores;
    uint32_t vector_cores;
    uint32_t clock_mhz;
    uint64_t hbm_bytes;
    uint64_t l2_bytes;
    double hbm_bytes_per_s;     // published peak
    double host_bytes_per_s;    // to and from the host, per direction: PCIe 4.0 x16, nominal
    double peer_bytes_per_s;    // to and from the other devices of a node, per direction: HCCS; 310P3: PCIe
    double cube_flops_per_s;    // fp16, all cores: cores x 8192 x clock
    double vector_flops_per_s;  // fp16, all cores: cores x 128 lanes x multiply-add x clock
};

const Soc* find_soc(std::string_view name);  // nullptr when unknown
std::span<const Soc> all_socs();

}  // namespace softnpu
