// SPDX-License-Identifier: Apache-2.0
#include "runtime/status.h"

#include <cstdarg>
#include <cstdio>

namespace softnpu {
namespace {

struct Recent {
    char text[1024] = "";
    bool fresh = false;
    aclError code = ACL_SUCCESS;
};
thread_local Recent recent;

}  // namespace

aclError fail(aclError code, const char* format, ...) {
    va_list args;
    va_start(args, format);
    std::vsnprintf(recent.text, sizeof recent.text, format, args);
    va_end(args);
    recent.fresh = true;
    recent.code = code;
    return code;
}

const char* take_message() {
    if (!recent.fresh) {
        return nullptr;
    }
    recent.fresh = false;
    return recent.text;
}

aclError last_error(bool forget) {
    const aclError code = recent.code;
    if (forget) {
        recent.code = ACL_SUCCESS;
    }
    return code;
}

}  // namespace softnpu
