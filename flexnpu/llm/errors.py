# SPDX-License-Identifier: Apache-2.0
"""What cannot be read as a model."""

from __future__ import annotations

from flexnpu.errors import InvalidValue


class ModelError(InvalidValue):
    """A config.json that cannot be read as a model's shape, or a way to spread it that does not fit."""
