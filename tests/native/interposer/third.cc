// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

extern "C" {
__attribute__((visibility("default"))) int third_answer() { return ANSWER; }
#if ANSWER == 3
// Not a tail call: the lookup counts from the library that its return address lies in.
__attribute__((visibility("default"), optimize("no-optimize-sibling-calls"))) void* next_of_third_library(
    const char* name) {
    return dlsym(RTLD_NEXT, name);
}
#endif
}
