// SPDX-License-Identifier: Apache-2.0
// Functions that the tables do not list: a name that is looked up, exists in a real library and sounds like a launch or
// an allocation is told once, in the report page and in one line at level info. The call itself is left alone (open).
// Of a name that a program was linked to, nothing is seen.
#pragma once

namespace flexnpu {

void note_unlisted(void* handle, const char* name);

// For the one who has just attached: what was noted before there was a page.
void report_unlisted();

}  // namespace flexnpu
