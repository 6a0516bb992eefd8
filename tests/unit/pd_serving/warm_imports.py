# SPDX-License-Identifier: Apache-2.0
"""What an instance imports, before there is one."""

import os
import sys

from warm_engine import ENGINE

os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
sys.path.insert(0, str(ENGINE.parents[1]))
sys.modules.setdefault("torch_npu", None)  # type: ignore[arg-type] # "not there", as the instances are on the CPU
import pd_serving.instance  # noqa: E402, F401
