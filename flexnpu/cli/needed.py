# SPDX-License-Identifier: Apache-2.0
"""What commands that start serving engines cannot do without."""

from __future__ import annotations

import importlib.util

from flexnpu import paths
from flexnpu.errors import BackendError

_MODULES = ("torch", "torch_npu", "transformers", "matplotlib")


def serving_needed() -> None:
    """Raises BackendError with what to install or build."""
    for module in _MODULES:
        if importlib.util.find_spec(module) is None:
            raise BackendError(
                f"{module} is not installed", next_step="install with: pip install 'flexnpu[torch,demo]'"
            )
    paths.interposer()
    paths.softnpu_libraries()
