// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

extern "C" {
__attribute__((visibility("default"))) int third_answer() { return ANSWER; }
#if ANSWER == 3
__attribute__((visibility("default"))) void* next_of_third_library(const char* name) { return dlsym(RTLD_NEXT, name); }
#endif
}
