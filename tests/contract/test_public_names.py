# SPDX-License-Identifier: Apache-2.0
"""What others build on keeps its name."""

from __future__ import annotations

import inspect

import flexnpu.client
import flexnpu.tenancy
from flexnpu.cli.main import app


def test_the_client_has_what_its_users_call():
    methods = {
        name: list(inspect.signature(method).parameters)[1:]
        for name, method in vars(flexnpu.client.Client).items()
        if not name.startswith("_") and inspect.isfunction(method)
    }
    assert methods == {
        "close": [],
        "devices": [],
        "vnpus": [],
        "vnpu": ["name"],
        "create_vnpu": [
            "name",
            "cores",
            "memory_bytes",
            "device",
            "phase",
            "owner_pid",
            "idempotency_key",
            "labels",
            "attach_dirs",
            "limits",
        ],
        "delete_vnpu": ["name", "force", "if_revision"],
        "set_phase": ["name", "phase", "if_revision"],
        "set_labels": ["name", "labels", "if_revision"],
        "quota": ["name"],
        "set_quota": ["name", "cores", "memory_bytes", "wait", "if_revision", "limits"],
        "rebalance": ["moves", "wait", "dry_run"],
        "operation": ["id_", "wait"],
        "tenants": ["vnpu"],
        "controllers": [],
        "decisions": ["filters"],
        "decision": ["id_"],
        "put_controller": ["name", "state"],
        "delete_controller": ["name"],
        "add_decisions": ["name", "decisions", "outcomes"],
        "forecast": ["question"],
        "events": ["after", "follow"],
        "steps": ["names"],
        "version": [],
    }


def test_all_names_what_there_is():
    for module in (flexnpu.client, flexnpu.tenancy):
        assert len(set(module.__all__)) == len(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)


def test_the_commands_are_those_of_the_documentation():
    names = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    lasting = {"run", "ps", "set", "create", "delete", "token", "version"}
    lasting |= {"top", "describe", "rebalance", "events", "decisions", "doctor", "completion"}
    others = {"bench", "calibrate", "controller", "demo", "experiment", "forecast", "simulate", "softnpu"}
    assert names == lasting | others
