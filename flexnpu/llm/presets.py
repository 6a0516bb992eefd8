# SPDX-License-Identifier: Apache-2.0
"""Models whose sizes ship, by name; models/README.md has their sources."""

from __future__ import annotations

from pathlib import Path

from flexnpu.llm.shape import ModelError

SHIPPED = Path(__file__).parent / "models"


def available() -> list[str]:
    """Names that `find_config` knows."""
    return sorted(file.stem for file in SHIPPED.glob("*.json"))


def find_config(model: str | Path) -> tuple[str, Path]:
    """What to call a model, and its config.json: of a path, of a folder, or of a name that ships (in any case)."""
    path = Path(model)
    if path.exists():
        file = path / "config.json" if path.is_dir() else path
        return (file.resolve().parent.name if file.name == "config.json" else file.stem), file
    for name in available():
        if name.casefold() == str(model).casefold():
            return name, SHIPPED / f"{name}.json"
    raise ModelError(
        f"model {str(model)!r} is no file, and no model that ships; give its config.json, or one of "
        f"{', '.join(available())}"
    )
