# SPDX-License-Identifier: Apache-2.0
"""The flexnpu command. Errors are one line on stderr; docs/cli.md lists the exit codes."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]

from flexnpu import __version__
from flexnpu.cli import (
    bench,
    calibrate,
    completion,
    controller,
    decisions,
    demo,
    describe,
    events,
    experiment,
    forecast,
    ps,
    quota,
    rebalance,
    run,
    simulate,
    softnpu,
    softnpu_top,
    token,
    top,
)
from flexnpu.cli.doctor import command as doctor
from flexnpu.errors import FlexNpuError

app = typer.Typer(
    name="flexnpu",
    help="Several unmodified programs share one Ascend NPU, each on a virtual NPU (vNPU) of its own.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # it would take what stands in brackets for markup
    pretty_exceptions_enable=False,
)
# Options end where the program's name begins: what follows is the program's.
_PROGRAM = {"allow_interspersed_args": False}

app.command("run", context_settings=_PROGRAM)(run.run)
app.command("ps")(ps.ps)
app.command("describe")(describe.describe)
app.command("set")(quota.set_quota)
app.command("create")(quota.create)
app.command("delete")(quota.delete)
app.command("rebalance")(rebalance.rebalance)
app.command("top")(top.top)
app.command("events")(events.events)
app.command("decisions")(decisions.decisions)
app.command("doctor")(doctor.doctor)
app.command("controller")(controller.controller)
app.command("calibrate")(calibrate.calibrate)
app.command("demo")(demo.demo)
app.command("token")(token.token)
app.command("completion")(completion.completion)
app.command("version")(ps.version)


def _show_version(*, asked: bool) -> None:
    if asked:
        typer.echo(f"flexnpu {__version__}")
        raise typer.Exit


@app.callback()
def remote(
    url: Annotated[
        str | None, typer.Option(help="A daemon elsewhere, https://HOST:PORT  [default: $FLEXNPU_URL]")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="Bearer token for it  [default: $FLEXNPU_TOKEN_FILE]")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="CAs that it may have, PEM  [default: $FLEXNPU_CA_FILE]")] = None,
    cert_file: Annotated[
        Path | None, typer.Option(help="Client certificate and key, PEM  [default: $FLEXNPU_CERT_FILE]")
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda value: _show_version(asked=value),
            help="Print the version and exit; flexnpu version has the daemon's too",
        ),
    ] = False,
) -> None:
    given = {"URL": url, "TOKEN_FILE": token_file, "CA_FILE": ca_file, "CERT_FILE": cert_file}
    os.environ.update({f"FLEXNPU_{name}": str(value) for name, value in given.items() if value is not None})


_softnpu = typer.Typer(no_args_is_help=True, help="The software NPU by itself, without FlexNPU.")
_softnpu.command("run", context_settings=_PROGRAM)(softnpu.run)
_softnpu.command("top")(softnpu_top.top)
app.add_typer(_softnpu, name="softnpu")

_forecast = typer.Typer(invoke_without_command=True)
_forecast.callback()(forecast.forecast)
_forecast.command("table")(forecast.table)
app.add_typer(_forecast, name="forecast")

_simulate = typer.Typer(invoke_without_command=True)
_simulate.callback()(simulate.simulate)
_simulate.command("capacity")(simulate.capacity)
app.add_typer(_simulate, name="simulate")

_experiment = typer.Typer(no_args_is_help=True, help="Published serving experiments, live and in the simulator.")
_experiment.command("run")(experiment.run)
_experiment.command("list")(experiment.list_)
app.add_typer(_experiment, name="experiment")

_bench = typer.Typer(no_args_is_help=True, help="What FlexNPU promises in figures, measured on this machine.")
for measure in (
    *(bench.overhead, bench.decode, bench.fairness, bench.latency, bench.kills, bench.reassign, bench.attach),
    *(bench.moves, bench.react),
):
    _bench.command(measure.__name__)(measure)
app.add_typer(_bench, name="bench")

# What typer raises for an option it cannot read; its module's name depends on the version.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
# Of a full disk, a quota, a limit of file sizes.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main() -> None:
    """The entry point."""
    completion_init()  # a shell may ask for completions, in the variable that the script of flexnpu completion sets
    try:
        code = app(standalone_mode=False, prog_name="flexnpu")
    except FlexNpuError as error:
        sys.exit(_fail(str(error), error.exit_code))
    except _UsageError as error:
        message = getattr(error, "format_message", error.__str__)().rstrip(".")
        # Without a command typer shows the help and has nothing to say beyond it.
        sys.exit(_fail(f"{message}; see flexnpu --help", 2) if message else 2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        with contextlib.suppress(OSError):
            sys.stdout.close()  # else what it still holds fails once more at the end
        sys.exit(_fail(f"the output cannot be written ({error.strerror}); write it where there is room", 1))
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())
    print(f"flexnpu: error: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
