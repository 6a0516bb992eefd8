# SPDX-License-Identifier: Apache-2.0
"""SoC specifications: what a device is, before anything has been measured on it."""

from flexnpu.hardware.catalogue import available, load_soc
from flexnpu.hardware.soc import Soc, SpecError

__all__ = ["Soc", "SpecError", "available", "load_soc"]
