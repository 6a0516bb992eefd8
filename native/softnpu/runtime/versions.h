// SPDX-License-Identifier: Apache-2.0
//
// Which torch and torch_npu the program runs on, told by the libraries that it has loaded. ATen's binary interface
// holds within one release of torch only, and libopapi.so is built on one.
#pragma once

#include <string>

namespace softnpu {

// Empty when the loaded torch and torch_npu (none, too) are of the release that this library was built for; else one
// line with what was found, what is known and what to do.
std::string torch_mismatch();

}  // namespace softnpu
