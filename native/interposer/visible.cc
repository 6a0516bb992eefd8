// SPDX-License-Identifier: Apache-2.0
#include "visible.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace flexnpu {
namespace {

constexpr const char* kRuntimes = "ASCEND_RT_VISIBLE_DEVICES";

bool is_set(const char* value) { return value != nullptr && *value != '\0'; }

// The list that narrows this vNPU, null for none.
const char* inner_list() {
    const char* outer = getenv("FLEXNPU_NODE_VISIBLE_DEVICES");
    const char* now = getenv(kRuntimes);
    if (outer == nullptr) return nullptr;  // not started by flexnpu run: the list is the runtime's
    if (strcmp(now != nullptr ? now : "", outer) == 0) return getenv("FLEXNPU_VISIBLE_DEVICES");
    if (now != nullptr) setenv("FLEXNPU_VISIBLE_DEVICES", now, 1);
    if (*outer == '\0') {
        unsetenv(kRuntimes);
    } else {
        setenv(kRuntimes, outer, 1);
    }
    return getenv("FLEXNPU_VISIBLE_DEVICES");
}

uint32_t parse(const char* list, uint32_t count, uint32_t (&order)[FLEXNPU_DEVICES], bool (&taken)[FLEXNPU_DEVICES]) {
    uint32_t seen = 0;
    for (const char* at = list;; ++at) {
        char* end = nullptr;
        const unsigned long device = strtoul(at, &end, 10);
        if (end == at || *at < '0' || *at > '9' || device >= count || taken[device]) return 0;
        taken[device] = true;
        order[seen++] = static_cast<uint32_t>(device);
        at = end;
        if (*at == '\0') return seen;
        if (*at != ',') return 0;
    }
}

}  // namespace

uint32_t choose_visible(uint32_t count, uint32_t (&order)[FLEXNPU_DEVICES], char (&why)[512]) {
    const char* list = inner_list();
    bool taken[FLEXNPU_DEVICES] = {};
    uint32_t seen = 0;
    if (is_set(list)) {
        seen = parse(list, count, order, taken);
        if (seen == 0) {
            snprintf(why, sizeof why, "%s is '%.128s': inside a vNPU it lists devices of the vNPU, 0 to %u, each once",
                     kRuntimes, list, count - 1);
            return 0;
        }
    }
    uint32_t next = seen;
    for (uint32_t i = 0; i < count; ++i) {
        if (!taken[i]) order[next++] = i;
    }
    return seen != 0 ? seen : count;
}

}  // namespace flexnpu
