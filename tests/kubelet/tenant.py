# SPDX-License-Identifier: Apache-2.0
"""A plain AscendCL program, as `python3 -c` of an image that knows nothing of FlexNPU. It says, whenever that changes,
how many cores it has to tile for and how much memory there is; with an argument, once."""

import ctypes
import json
import os
import signal
import sys
import time

CUBE_CORES, HBM = 0, 1
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
acl = ctypes.CDLL("libascendcl.so")
for call in (lambda: acl.aclInit(None), lambda: acl.aclrtSetDevice(0)):
    if code := call():
        acl.aclGetRecentErrMsg.restype = ctypes.c_char_p
        sys.exit(f"error {code}: {(acl.aclGetRecentErrMsg() or b'').decode()}")
cores, free, total = ctypes.c_uint32(), ctypes.c_size_t(), ctypes.c_size_t()
told = None
while True:
    acl.aclrtGetResInCurrentThread(CUBE_CORES, ctypes.byref(cores))
    acl.aclrtGetMemInfo(HBM, ctypes.byref(free), ctypes.byref(total))
    says = {"cores": cores.value, "gib": total.value / 2**30, "pid": os.getpid()}
    if says != told:
        told = says
        print(json.dumps({**says, "at": time.time()}), flush=True)
        if sys.argv[1:]:
            break
    time.sleep(0.01)
