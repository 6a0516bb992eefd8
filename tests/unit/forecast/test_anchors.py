# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from flexnpu.forecast.anchors import table


def test_the_document_shows_what_the_code_computes():
    assert table() in (Path(__file__).parents[3] / "docs" / "forecast.md").read_text()
