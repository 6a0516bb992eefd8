# SPDX-License-Identifier: Apache-2.0
"""Options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flexnpu.cli.names import complete_vnpu

Name = Annotated[str, typer.Argument(help="Name of the vNPU", autocompletion=complete_vnpu)]
RuntimeDir = Annotated[
    Path | None,
    typer.Option(help="The daemon's runtime directory  [default: $FLEXNPU_RUNTIME_DIR]", show_default=False),
]
Devices = Annotated[
    str, typer.Option("--device", help="Index of the device, as flexnpu ps shows it; several are joined by commas: 0,1")
]
BurstCores = Annotated[
    str | None, typer.Option(help="Most cores that idle ones of others may bring it to; none: no more than --cores")
]
VectorCores = Annotated[str | None, typer.Option(help="Vector cores; none: in proportion to the cores")]
Share = Annotated[
    str | None, typer.Option(help="Part of the device's time, such as 25%; none: all the time, on its own cores")
]
FixedShare = Annotated[
    bool | None,
    typer.Option("--fixed-share/--elastic-share", help="Whether idle time of others is left idle, or taken too"),
]
Priority = Annotated[int | None, typer.Option(help="0 to 7: the higher goes first")]
Timeout = Annotated[str, typer.Option(help="How long to wait until it is applied, such as 5s")]
TensorParallel = Annotated[int, typer.Option(help="Devices that share every matrix of the model")]
ExpertParallel = Annotated[int, typer.Option(help="Devices that routed experts are spread over; 1: cut as others are")]
WeightDtype = Annotated[
    str | None, typer.Option(help="Format of linear layers: fp8, int8 (W8A8), int8_wo, int4…  [default: config.json's]")
]
KvDtype = Annotated[str | None, typer.Option(help="Format of the KV cache: bf16, fp8, int8…  [default: config.json's]")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]
JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write the results there as JSON, whole or not at all; - prints them",
    ),
]
Interval = Annotated[float, typer.Option(help="Seconds between two pictures, 0.05 to 60")]
Once = Annotated[bool, typer.Option("--once", help="One picture, then end")]
