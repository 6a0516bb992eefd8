// SPDX-License-Identifier: Apache-2.0
// Kernel launches, by the public names, their Impl names, and the layer below for those who call it directly.
#include "entries/launch.h"

#include "entries/stubs.h"

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

int refuse_launch() { return kRefused; }
int miss_launch() { return ACL_ERROR_API_NOT_SUPPORT; }

}  // namespace

#define FLEXNPU_KERNEL(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_kernel<stream>)
#include "functions.def"

}  // namespace flexnpu

// Gives where the call goes on. Below a launch that was counted already, nothing is counted.
extern "C" void* flexnpu_forward_begin(uint32_t index) {
    using namespace flexnpu;
    void* real = real_function(first_forward + index);
    if (real == nullptr) {
        tell_missing(first_forward + index);
        return reinterpret_cast<void*>(&miss_launch);
    }
    if (within(Guard::launch)) return real;
    if (!attached()) return reinterpret_cast<void*>(&refuse_launch);
    Launch launch{};
    launch.kind = FLEXNPU_LAUNCH_KERNEL;
    launch.where = Launch::Where::unknown;
    launch.key = launch_key(index, 0);
    const Pass pass = here().gate.pass(launch);
    return real;
}
