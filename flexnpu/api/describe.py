# SPDX-License-Identifier: Apache-2.0
"""Prints the OpenAPI description: python -m flexnpu.api.describe > docs/openapi.json"""

from __future__ import annotations

import json
from typing import Any

from flexnpu.api.app import create_app


def describe() -> dict[str, Any]:
    """No node is asked for it."""
    return create_app(None, 0).openapi()  # type: ignore[arg-type]


if __name__ == "__main__":
    print(json.dumps(describe(), indent=2, sort_keys=True))
