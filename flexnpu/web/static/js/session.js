// SPDX-License-Identifier: Apache-2.0
// The token that the user has entered: for this tab, until it is closed.

const KEY = "flexnpu.token";

export const token = () => sessionStorage.getItem(KEY);
export const keep = text => sessionStorage.setItem(KEY, text);
export const forget = () => sessionStorage.removeItem(KEY);
