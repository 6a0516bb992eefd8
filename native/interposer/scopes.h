// SPDX-License-Identifier: Apache-2.0
// Libraries that bind past the preload, and how they are governed all the same.
//
// RTLD_DEEPBIND binds a library to its own dependencies first; dlmopen loads it into a namespace that the preload does
// not reach. Taking the flag away would change what the program asked for, and a namespace has no flag. So the words
// through which such a library calls (its GOT) are set to our functions: in the base namespace to this library's, in
// another one to those of a second libflexnpu.so that is loaded there, since the real functions of that namespace have
// a state of their own; the second one attaches as one more process of the vNPU.
//
// dlopen itself goes on by a jump, because glibc looks at its caller (RUNPATH, $ORIGIN, the namespace). What it loaded
// is found at the next call of a dl function, and a program that opened a library looks something up in it. Calls that
// the library's constructors make before that are not governed. A program that uses neither pays one load per lookup.
#pragma once

#include <dlfcn.h>

struct flexnpu_answer;

namespace flexnpu {

// From now on, libraries may come that bind past the preload.
void expect_newcomers();
void expect_namespaces();

// Sets the words of libraries that have come since the last time.
void govern_newcomers();

// Whether `found` is what a library defines that was preloaded before us. It goes on to us by RTLD_NEXT.
bool stands_before_us(const char* name, const void* found);

// The lookups of the libflexnpu.so in the handle's namespace, null where it is ours.
struct Lookups {
    flexnpu_answer (*dlsym)(void*, const char*);
    flexnpu_answer (*dlvsym)(void*, const char*, const char*);
};
const Lookups* lookups_of_namespace(void* handle);

}  // namespace flexnpu
