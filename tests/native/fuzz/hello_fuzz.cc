// SPDX-License-Identifier: Apache-2.0
// Any bytes as a hello to the daemon.
#include "arbiter/handshake.h"
#include "fuzz.h"

using namespace flexnpu;

std::vector<std::string> fuzz_seeds() {
    std::string returning = pack_hello("decode", FLEXNPU_PAGE_VERSION);
    returning[offsetof(flexnpu_hello, flags)] = FLEXNPU_HELLO_RETURNING;
    returning[offsetof(flexnpu_hello, slot)] = 3;
    return {pack_hello("a", FLEXNPU_PAGE_VERSION), pack_hello("b", 9), returning, ""};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view sent(reinterpret_cast<const char*>(data), size);
    const Hello hello = parse_hello(sent);
    FUZZ_CHECK(hello.status <= FLEXNPU_BAD_VERSION);
    FUZZ_CHECK(hello.vnpu.size() < FLEXNPU_NAME_SIZE && hello.vnpu.find('\0') == std::string::npos);
    if (hello.status == FLEXNPU_OK) {
        FUZZ_CHECK(size == sizeof(flexnpu_hello) && hello.version == FLEXNPU_PAGE_VERSION);
        FUZZ_CHECK(!hello.returning || hello.slot < FLEXNPU_PROCESSES);
        FUZZ_CHECK(parse_hello(pack_hello(hello.vnpu, hello.version)).vnpu == hello.vnpu);
    } else {
        FUZZ_CHECK(hello.vnpu.empty() && !hello.returning);
    }
    // The same bytes as a name and as a message: cut, ended by a zero, and of the right size.
    FUZZ_CHECK(pack_hello(sent, FLEXNPU_PAGE_VERSION).size() == sizeof(flexnpu_hello));
    const std::string welcome = pack_welcome(FLEXNPU_DENIED, sent, FLEXNPU_NO_SLOT);
    FUZZ_CHECK(welcome.size() == sizeof(flexnpu_welcome));
    FUZZ_CHECK(welcome[offsetof(flexnpu_welcome, message) + FLEXNPU_MESSAGE_SIZE - 1] == '\0');
    return 0;
}
