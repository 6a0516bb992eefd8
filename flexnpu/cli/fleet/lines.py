# SPDX-License-Identifier: Apache-2.0
"""YAML whose values know the line that they stand in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from flexnpu.errors import InvalidValue

Place = tuple[str | int, ...]  # keys and indexes that lead to a value


@dataclass(frozen=True, slots=True)
class Document:
    """value: plain Python. lines: of each place, counted from 1."""

    path: Path
    value: object
    lines: Mapping[Place, int]

    def error(self, place: Place, what: str, next_step: str) -> InvalidValue:
        """what: is said of the place, after its name."""
        known = next(place[:length] for length in range(len(place), -1, -1) if place[:length] in self.lines)
        name = ".".join(map(str, place)) or "the file"
        return InvalidValue(f"{self.path} line {self.lines[known]}: {name} {what}", next_step=next_step)


def read(path: Path) -> Document:
    """Raises InvalidValue for what is no YAML, and for a key that is there twice, of which YAML takes the last."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidValue(f"{path} cannot be read ({why})", next_step="name another file") from error
    reader = _Reader(path, text)
    try:
        return Document(path, reader.document(), reader.lines)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidValue(f"{path} line {line}: no YAML ({error.problem})", next_step="mend that line") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        why = " ".join(str(error).split())
        raise InvalidValue(f"{path} is no YAML ({why})", next_step="mend it, or name another file") from error


@dataclass(slots=True)
class _Reader:
    path: Path
    text: str
    lines: dict[Place, int] = field(default_factory=lambda: {(): 1})
    _loader: yaml.SafeLoader = field(init=False)

    def document(self) -> object:
        self._loader = yaml.SafeLoader(self.text)
        try:
            node = self._loader.get_single_node()
            return None if node is None else self._value(node, ())
        finally:
            self._loader.dispose()

    def _value(self, node: yaml.Node, place: Place) -> object:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(each, (*place, at)) for at, each in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise InvalidValue(f"{self.path} line {line}: a key that is no name", next_step="write NAME: VALUE")
            if key.value in seen:
                raise InvalidValue(
                    f"{self.path} line {line}: {key.value} is there twice", next_step="leave one of them"
                )
            seen.add(key.value)
        self._loader.flatten_mapping(node)  # what << brings, which the mapping's own keys go before
        found: dict[str, object] = {}
        for key, value in node.value:
            inner = (*place, key.value)
            self.lines[inner] = key.start_mark.line + 1
            found[key.value] = self._value(value, inner)
        return found
