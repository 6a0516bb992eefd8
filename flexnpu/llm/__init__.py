# SPDX-License-Identifier: Apache-2.0
"""A model's shape, read from its unmodified Hugging Face config.json, and how it is spread over devices."""

from flexnpu.llm.errors import ModelError
from flexnpu.llm.formats import ELEMENT_BYTES, FORMATS, Format
from flexnpu.llm.parallel import Parallel
from flexnpu.llm.shape import Experts, Latent, ModelShape

__all__ = ["ELEMENT_BYTES", "FORMATS", "Experts", "Format", "Latent", "ModelError", "ModelShape", "Parallel"]
