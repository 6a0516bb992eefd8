# SPDX-License-Identifier: Apache-2.0
"""The routes: a module for each noun of the API, and a few for those who keep the node and for browsers."""

from __future__ import annotations

from fastapi import APIRouter

from flexnpu.api.models import API_VERSION


def router_of(noun: str) -> APIRouter:
    """For routes below /api/v1/NOUN; a handler's name is the name of its operation."""
    return of_tag(noun, f"/api/v{API_VERSION}/{noun}")


def of_tag(tag: str, prefix: str = "") -> APIRouter:
    """For routes that may be anywhere."""
    return APIRouter(prefix=prefix, tags=[tag], generate_unique_id_function=lambda route: route.name)
