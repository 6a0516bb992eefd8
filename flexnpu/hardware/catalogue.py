# SPDX-License-Identifier: Apache-2.0
"""Where specifications are found: the caller's folders, then FLEXNPU_SOC_PATH, then the ones that ship.

The first folder that has a name wins, so a user can correct a shipped value without touching the package.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from flexnpu.hardware.soc import Soc, SpecError

SHIPPED = Path(__file__).parent / "specs"


def load_soc(name: str, path: Sequence[str | Path] = ()) -> Soc:
    """The SoC of that name (case does not matter)."""
    known = _specs(path)
    found = known.get(name.casefold())
    if found is None:
        names = ", ".join(available(path))
        raise SpecError(f"SoC {name!r} is not known; known are {names}; add a YAML file in FLEXNPU_SOC_PATH for others")
    return Soc.from_mapping(_read(found), str(found))


def available(path: Sequence[str | Path] = ()) -> list[str]:
    """Names of all SoCs that `load_soc` knows, sorted."""
    return sorted(str(_read(file).get("name", file.stem)) for file in _specs(path).values())


def _specs(path: Sequence[str | Path]) -> dict[str, Path]:
    known: dict[str, Path] = {}
    for folder in _folders(path):
        for file in sorted(folder.glob("*.yaml")):
            known.setdefault(str(_read(file).get("name", file.stem)).casefold(), file)
    return known


def _folders(path: Sequence[str | Path]) -> Iterator[Path]:
    listed = [*map(Path, path), *map(Path, filter(None, os.environ.get("FLEXNPU_SOC_PATH", "").split(os.pathsep)))]
    for folder in listed:
        if not folder.is_dir():
            raise SpecError(f"SoC folder {str(folder)!r} does not exist; correct FLEXNPU_SOC_PATH or make the folder")
        yield folder
    yield SHIPPED


def _read(file: Path) -> Mapping[str, object]:
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{file}: not readable as YAML ({str(error).splitlines()[0]}); correct the file") from error
    if not isinstance(raw, dict):
        raise SpecError(f"{file}: holds {type(raw).__name__}; it must be a mapping of fields, as the shipped specs are")
    return raw
