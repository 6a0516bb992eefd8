# SPDX-License-Identifier: Apache-2.0
"""Directories for sockets, whose names are short."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from flexnpu import paths
from flexnpu.paths import RuntimeDir


@pytest.mark.parametrize("length", [20, 60, 80, 200])
def test_a_runtime_directory_fits_into_a_temporary_root_however_long_tmpdir_is(monkeypatch, length):
    with tempfile.TemporaryDirectory(prefix="fx-") as short:
        long = Path(short) / ("x" * (length - len(short) - 1)) if length > len(short) + 1 else Path(short)
        long.mkdir(exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        made = paths.temporary_root("flexnpu-experiment-")
        try:
            RuntimeDir.find(made / "run")
            assert made.stat().st_mode & 0o777 == 0o700
            assert (made.parent == long) == (length < 70), "$TMPDIR is where it belongs, unless it is too long"
            assert [*long.iterdir()] == ([made] if made.parent == long else []), "nothing is left behind"
        finally:
            made.rmdir()
