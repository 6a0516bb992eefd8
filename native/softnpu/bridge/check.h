// SPDX-License-Identifier: Apache-2.0
//
// Argument checks that most entries share.
#pragma once

#include <flexnpu_abi/acl_types.h>

#include "runtime/process.h"
#include "runtime/status.h"

// Returns CANN's code for a bad parameter, with the parameter's name in the message.
#define SOFTNPU_NEED(pointer)                                                                       \
    do {                                                                                            \
        if ((pointer) == nullptr) {                                                                 \
            return softnpu::fail(ACL_ERROR_RT_PARAM_INVALID, "%s: %s is null", __func__, #pointer); \
        }                                                                                           \
    } while (false)

// Declares `name`, the current device, or returns the error of not having one.
#define SOFTNPU_CURRENT(name)                                                    \
    softnpu::DeviceState* const name = softnpu::Process::get().current_device(); \
    if ((name) == nullptr) {                                                     \
        return softnpu::last_error(false);                                       \
    }

// Declares `name`, the stream that a handle means, or returns the error.
#define SOFTNPU_STREAM(name, handle)                                       \
    softnpu::Stream* const name = softnpu::Process::get().resolve(handle); \
    if ((name) == nullptr) {                                               \
        return softnpu::last_error(false);                                 \
    }
