// SPDX-License-Identifier: Apache-2.0
//
// CANN's codes of the aclnn interface.
#pragma once

enum {
    ACLNN_ERR_PARAM_NULLPTR = 161001,
    ACLNN_ERR_PARAM_INVALID = 161002,
    ACLNN_ERR_INNER_FIND_KERNEL_ERROR = 561003,
};
