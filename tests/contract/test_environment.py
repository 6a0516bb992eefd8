# SPDX-License-Identifier: Apache-2.0
"""The table of environment variables is what the code reads, and what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

from flexnpu.environment import VARIABLES, table

ROOT = Path(__file__).parents[2]
# How a variable is read: getenv in C++ (the software NPU through helpers that take the name first), a key in Python.
READ = re.compile(r"""(?:getenv\(|number\(|choice\(|variable\(|environ\.get\(|environ\[)\s*"(FLEXNPU_[A-Z_]+)\"""")


def test_the_table_names_every_variable_that_is_read():
    sources = [*ROOT.glob("flexnpu/**/*.py"), *ROOT.glob("native/**/*.cc"), *ROOT.glob("native/**/*.h")]
    read = {name for source in sources for name in READ.findall(source.read_text())}
    assert read == {variable.name for variable in VARIABLES}


def test_the_page_is_the_table():
    page = ROOT / "docs/environment.md"
    assert page.read_text() == table(), "run: python -m flexnpu.environment > docs/environment.md"
