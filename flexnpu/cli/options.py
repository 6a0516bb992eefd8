# SPDX-License-Identifier: Apache-2.0
"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RuntimeDir = Annotated[
    Path | None,
    typer.Option(help="The daemon's runtime directory  [default: $FLEXNPU_RUNTIME_DIR]", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]
