# SPDX-License-Identifier: Apache-2.0
"""A model's shape, read from its unmodified Hugging Face config.json."""

from flexnpu.llm.shape import ModelError, ModelShape

__all__ = ["ModelError", "ModelShape"]
