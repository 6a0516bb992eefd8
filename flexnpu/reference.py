# SPDX-License-Identifier: Apache-2.0
"""Every flag and environment variable in one page, made from the code.

python -m flexnpu.reference > docs/reference.md
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import UnionType
from typing import get_args, get_origin

import typer
from typer.models import OptionInfo

from flexnpu.cli.main import app
from flexnpu.daemon.main import parser
from flexnpu.environment import VARIABLES

_HEAD = """# Reference

Made by `python -m flexnpu.reference`; a test holds it to the code. REST fields are in [openapi.json](openapi.json),
metrics in [metrics.md](metrics.md), the demo's JSON in [demo.md](demo.md), exit codes in [cli.md](cli.md).
"""


def page() -> str:
    """The page in Markdown."""
    parts = [_HEAD, "\n## Flags\n\n", *_table(("command", "flag", "value", "default", "meaning"), _flags())]
    rows = ((f"`{v.name}`", v.read_by, v.values, v.default, v.meaning) for v in VARIABLES)
    parts += ["\n## Environment variables\n\n", *_table(("variable", "read by", "values", "default", "meaning"), rows)]
    return "".join(parts)


def _flags() -> Iterator[tuple[str, ...]]:
    for action in parser()._actions:  # argparse has no public list of them
        if action.dest not in {"help", "version"}:
            kind = getattr(action.type, "__name__", "text")
            help_ = (action.help or "") % {"default": action.default}
            yield "flexnpud", f"`{action.option_strings[0]}`", kind, _default(action.default), help_
    yield from _options("flexnpu", app.registered_callback.callback if app.registered_callback else None)
    yield from _commands(app, "flexnpu")


def _commands(group: typer.Typer, path: str) -> Iterator[tuple[str, ...]]:
    for command in sorted(group.registered_commands, key=lambda each: str(each.name)):
        yield from _options(f"{path} {command.name}", command.callback)
    for each in group.registered_groups:
        if each.typer_instance is not None:
            own = each.typer_instance.registered_callback  # a command that has others under it
            yield from _options(f"{path} {each.name}", own.callback if own else None)
            yield from _commands(each.typer_instance, f"{path} {each.name}")


def _options(command: str, callback: Callable[..., object] | None) -> Iterator[tuple[str, ...]]:
    for parameter in inspect.signature(callback, eval_str=True).parameters.values() if callback else ():
        yield from _option(command, parameter)


def _option(command: str, parameter: inspect.Parameter) -> Iterator[tuple[str, ...]]:
    kind, *notes = get_args(parameter.annotation) or (None,)  # none: typer's own context
    for note in notes:
        if isinstance(note, OptionInfo):
            given = (note.default, *(note.param_decls or ()))  # in Annotated, typer takes the first for a default
            flags = [each for each in given if isinstance(each, str)] or [f"--{parameter.name.replace('_', '-')}"]
            required = parameter.default is inspect.Parameter.empty
            default = "required" if required else _default(parameter.default)
            shown = ", ".join(f"`{flag}`" for flag in flags)
            yield command, shown, note.metavar or _kind(kind), default, note.help or ""


def _kind(kind: object) -> str:
    if get_origin(kind) is list:
        return f"{_kind(get_args(kind)[0])}, repeatable"
    if isinstance(kind, UnionType):
        return _kind(next(each for each in get_args(kind) if each is not type(None)))
    name: str = getattr(kind, "__name__", str(kind))
    return {"str": "text", "bool": "flag"}.get(name, name.lower())


def _default(value: object) -> str:
    return "" if value is None or value is False else f"`{value}`"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n"


if __name__ == "__main__":
    print(page(), end="")
