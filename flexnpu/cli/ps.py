# SPDX-License-Identifier: Apache-2.0
"""flexnpu ps and flexnpu version: what there is."""

from __future__ import annotations

import typer

from flexnpu import __version__, _native
from flexnpu.api.models import API_VERSION
from flexnpu.cli import options, tables
from flexnpu.cli.output import print_json, show
from flexnpu.client import Client
from flexnpu.errors import NoDaemon


def ps(as_json: options.Json = False, runtime_dir: options.RuntimeDir = None) -> None:
    """List devices, vNPUs, tenants and controllers."""
    with Client(runtime_dir) as client:
        devices, vnpus, tenants = client.devices(), client.vnpus(), client.tenants()
        controllers = client.controllers()
    if as_json:
        print_json({"devices": devices, "vnpus": vnpus, "tenants": tenants, "controllers": controllers})
        return
    shown = [tables.devices(devices), tables.vnpus(vnpus), tables.tenants(tenants)]
    if any(tenant.graphs for tenant in tenants):
        shown.append(tables.graphs(tenants))
    if controllers:
        shown.append(tables.controllers(controllers))
    show(*shown)


def version(as_json: options.Json = False, runtime_dir: options.RuntimeDir = None) -> None:
    """Versions of this package and of the running daemon."""
    own = {"version": __version__, "page_version": _native.PAGE_VERSION, "api_version": API_VERSION}
    versions = {"flexnpu": own}
    try:
        with Client(runtime_dir) as client:
            versions["flexnpud"] = client.version().model_dump()
    except NoDaemon:
        pass
    if as_json:
        print_json(versions)
        return
    for program, numbers in versions.items():
        typer.echo(f"{program} {numbers['version']} (page {numbers['page_version']}, API {numbers['api_version']})")
