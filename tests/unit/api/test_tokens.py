# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens and their file."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexnpu.api.callers import READER, WRITER
from flexnpu.api.tokens import TokenFile, make
from flexnpu.errors import InvalidValue


def written(path: Path, *lines: str, mode: int = 0o600) -> Path:
    file = path / "tokens"
    file.write_text("\n".join(lines))
    file.chmod(mode)
    return file


def test_a_token_is_found_by_its_hash_alone(tmp_path: Path):
    (reader, one), (writer, two) = make("monitor", "read"), make("operator", "write")
    assert reader not in one
    tokens = TokenFile(written(tmp_path, "# who may", "", one, f"  {two}  "))
    found = {token: tokens.find(token.encode()) for token in (reader, writer)}
    assert [(each.name, each.scopes) for each in found.values() if each] == [("monitor", READER), ("operator", WRITER)]
    for wrong in (b"", b"guess", reader[:-1].encode(), one.rpartition(":")[2].encode()):
        assert tokens.find(wrong) is None


def test_a_file_that_cannot_be_used_leaves_what_was_known(tmp_path: Path):
    token, line = make("a", "read")
    file = written(tmp_path, line)
    tokens = TokenFile(file)
    for wrong in ("a read", f"{line}\n{line}", line.replace("read", "admin"), line[:-1]):
        file.write_text(wrong)
        with pytest.raises(InvalidValue, match="line "):
            tokens.reload()
    file.unlink()
    with pytest.raises(InvalidValue, match="cannot be read"):
        tokens.reload()
    assert tokens.find(token.encode())
    written(tmp_path, "")
    assert tokens.reload() == 0
    assert tokens.find(token.encode()) is None


def test_a_file_that_others_can_change_is_refused(tmp_path: Path):
    with pytest.raises(InvalidValue, match="mode 620"):
        TokenFile(written(tmp_path, mode=0o620))


@pytest.mark.parametrize(("name", "scope"), [("a b", "read"), ("", "read"), ("a", "admin")])
def test_a_token_has_a_usable_name_and_a_known_scope(name: str, scope: str):
    with pytest.raises(InvalidValue):
        make(name, scope)
