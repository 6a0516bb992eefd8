// SPDX-License-Identifier: Apache-2.0
// What the gate is told of a launch, from the arguments of the call.
#pragma once

#include "entries/wrap.h"

namespace flexnpu {

template <int index>
constexpr auto argument(auto first, auto... rest) {
    if constexpr (index == 0) {
        return first;
    } else {
        return argument<index - 1>(rest...);
    }
}

// `stream`: which argument is the stream; -1: the call returns when the device is done.
template <int stream, typename... Arguments>
Launch describe(flexnpu_launch_kind kind, uint64_t key, Arguments... arguments) {
    Launch launch{};
    launch.kind = kind;
    launch.key = key;
    if constexpr (stream < 0) {
        launch.where = Launch::Where::blocking;
    } else {
        launch.stream = argument<stream>(arguments...);
    }
    return launch;
}

// Sizes within a factor of two take about the same time.
inline uint64_t size_class(uint64_t bytes) { return 64 - static_cast<uint64_t>(__builtin_clzll(bytes | 1)); }

}  // namespace flexnpu
