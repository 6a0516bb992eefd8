// SPDX-License-Identifier: Apache-2.0
//
// What phase one refuses, as CANN does: shapes and data types that do not go together. Each gives one line, empty when
// there is nothing to refuse. What these do not look at shows when the operator runs, at the next synchronisation.
#pragma once

#include <string>

#include "ops/plan.h"

namespace softnpu {

// The inputs are broadcast to the sizes of the result, whose type can hold theirs.
std::string check_elementwise(const Plan& plan);
// The same of a result whose type is its own: a comparison's.
std::string check_broadcast(const Plan& plan);
// The last two inputs are multiplied as matrices, or stacks of them that are broadcast, into a result of their sizes.
std::string check_product(const Plan& plan);
// The last two inputs are multiplied; what becomes of the products is the operator's affair.
std::string check_factors(const Plan& plan);

}  // namespace softnpu
