// SPDX-License-Identifier: Apache-2.0
#include "arbiter/handshake.h"

#include <algorithm>
#include <cstring>

namespace flexnpu {
namespace {

template <typename Message>
std::string bytes_of(const Message& message) {
    return {reinterpret_cast<const char*>(&message), sizeof message};
}

}  // namespace

Hello parse_hello(std::string_view data) {
    flexnpu_hello hello{};
    std::copy_n(data.data(), std::min(data.size(), sizeof hello), reinterpret_cast<char*>(&hello));
    // Magic and version lie in front in every version, so that an old or new peer gets an answer it understands.
    if (data.size() < 8 || hello.magic != FLEXNPU_PAGE_MAGIC) return {};
    if (hello.version != FLEXNPU_PAGE_VERSION) return {.status = FLEXNPU_BAD_VERSION, .version = hello.version};
    const size_t length = strnlen(hello.vnpu, sizeof hello.vnpu);
    const bool whole = data.size() == sizeof hello && hello.size == sizeof hello && length < sizeof hello.vnpu;
    const bool returning = (hello.flags & FLEXNPU_HELLO_RETURNING) != 0;
    if (!whole || (returning && hello.slot >= FLEXNPU_PROCESSES)) return {.version = hello.version};
    return {FLEXNPU_OK, hello.version, std::string(hello.vnpu, length), returning, hello.slot};
}

std::string pack_hello(std::string_view vnpu, uint32_t version) {
    flexnpu_hello hello{FLEXNPU_PAGE_MAGIC, version, sizeof(flexnpu_hello), 0, {}, FLEXNPU_NO_SLOT, 0};
    std::copy_n(vnpu.data(), std::min(vnpu.size(), sizeof hello.vnpu - 1), hello.vnpu);
    return bytes_of(hello);
}

std::string pack_welcome(uint32_t status, std::string_view message, uint32_t slot) {
    flexnpu_welcome welcome{FLEXNPU_PAGE_MAGIC, FLEXNPU_PAGE_VERSION, sizeof(flexnpu_welcome), status, {}, slot, 0};
    std::copy_n(message.data(), std::min(message.size(), sizeof welcome.message - 1), welcome.message);
    return bytes_of(welcome);
}

}  // namespace flexnpu
