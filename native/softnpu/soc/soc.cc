// SPDX-License-Identifier: Apache-2.0
#include "soc/soc.h"

#include <array>

namespace softnpu {
namespace {

constexpr uint64_t kGiB = 1ULL << 30;
constexpr uint64_t kMiB = 1ULL << 20;

constexpr Soc make(const char* name, uint32_t cube, uint32_t vector, uint32_t mhz, uint64_t hbm, uint64_t l2_mib,
                   double hbm_gb_s, double peer_gb_s) {
    const double hertz = mhz * 1e6;
    return {name,
            cube,
            vector,
            mhz,
            hbm,
            l2_mib * kMiB,
            hbm_gb_s * 1e9,
            32e9,
            peer_gb_s * 1e9,
            cube * 8192.0 * hertz,
            vector * 256.0 * hertz};
}

constexpr std::array kSocs = {
    make("Ascend910B1", 24, 48, 1850, 64 * kGiB, 192, 1600, 196),
    make("Ascend910B2", 24, 48, 1800, 64 * kGiB, 192, 1600, 196),
    make("Ascend910B3", 20, 40, 1800, 64 * kGiB, 192, 1600, 196),
    make("Ascend910B4", 20, 40, 1500, 32 * kGiB, 96, 800, 196),
    make("Ascend910_9391", 24, 48, 1850, 64 * kGiB, 192, 1600, 196),
    make("Ascend910_9362", 20, 40, 1500, 32 * kGiB, 168, 800, 196),
    make("Ascend310P3", 8, 7, 1060, 24'000'000'000, 16, 204, 32),
};

}  // namespace

const Soc* find_soc(std::string_view name) {
    for (const Soc& soc : kSocs) {
        if (name == soc.name) {
            return &soc;
        }
    }
    return nullptr;
}

std::span<const Soc> all_socs() { return kSocs; }

}  // namespace softnpu
