// SPDX-License-Identifier: Apache-2.0
// Reading the opaque arguments of operators. Shapes are asked of the library; the values of an integer array can be
// asked of nobody, so that they are remembered when it is made.
#pragma once

#include "table.h"

namespace flexnpu {

struct Shape {
    int64_t dims[8];
    uint32_t count = 0;

    // 0 where there is no such dimension.
    uint64_t at(int place) const {
        return place >= 0 && static_cast<uint32_t>(place) < count && dims[place] > 0
                   ? static_cast<uint64_t>(dims[place])
                   : 0;
    }
};

// False: null, of more dimensions, or the library cannot say.
bool shape_of(const aclTensor* tensor, Shape* shape);

// The first tensor of a list, null when the list was not made lately.
const aclTensor* first_of(const aclTensorList* list);

// The values of an array, as many as fit; none when it was not made lately.
constexpr uint32_t kMostValues = 1024;
struct Values {
    uint32_t count = 0;
    int32_t at[kMostValues];
};
void values_of(const aclIntArray* array, Values* values);

void forget_arguments_in_child();

}  // namespace flexnpu
