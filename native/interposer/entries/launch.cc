// SPDX-License-Identifier: Apache-2.0
// Kernel launches, by the public names and their Impl names; the layer below is in below.cc.
#include "entries/launch.h"

namespace flexnpu {
namespace {

// An operator's blocks follow from the quota that its tiling was told; one that lays out more by itself is found here.
template <int stream>
constexpr auto on_kernel = [](auto real, auto function, uint32_t blocks, auto... rest) {
    const uint64_t key = launch_key(reinterpret_cast<uint64_t>(function), blocks);
    Launch launch = describe<stream>(FLEXNPU_LAUNCH_KERNEL, key, function, blocks, rest...);
    launch.cores = blocks;
    launch.grant_shift = of_vector_cores;
    const Pass pass = here().gate.pass(launch);
    return real(function, blocks, rest...);
};

}  // namespace

#define FLEXNPU_KERNEL(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_kernel<stream>)
#include "functions.def"

}  // namespace flexnpu
