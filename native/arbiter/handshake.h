// SPDX-License-Identifier: Apache-2.0
//
// The daemon's side of the handshake in page.h: what a stranger sends is read here, and what it is answered is made.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "flexnpu/page.h"

namespace flexnpu {

struct Hello {
    uint32_t status = FLEXNPU_BAD_HELLO;  // FLEXNPU_OK, FLEXNPU_BAD_HELLO or FLEXNPU_BAD_VERSION
    uint32_t version = 0;
    std::string vnpu{};  // as sent; a name is checked by who looks it up
    bool returning = false;
    uint32_t slot = FLEXNPU_NO_SLOT;
};

// Takes any bytes.
Hello parse_hello(std::string_view data);
// What is too long is cut.
std::string pack_hello(std::string_view vnpu, uint32_t version);
std::string pack_welcome(uint32_t status, std::string_view message, uint32_t slot);

}  // namespace flexnpu
