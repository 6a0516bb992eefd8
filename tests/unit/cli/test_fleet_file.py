# SPDX-License-Identifier: Apache-2.0
"""Files of programs: what they may say, and that an error names the key and its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexnpu.cli.fleet.file import load
from flexnpu.errors import InvalidValue

FILE = """# two engines
programs:
  prefill: &engine
    command: python serve.py --role 'pre fill'
    cores: 12
    memory: 24GiB
    share: 25%
    device: [0, 1]
    environment: {PORT: 8100, HOST: localhost}
    ready: {http: "http://127.0.0.1:8100/health", within: 2min}
  decode:
    <<: *engine
    command: [python, serve.py, -n, 3]
    cores: 4
    depends_on: {prefill: ready}
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "fleet.yaml"
    file.write_text(text)
    return file


def test_values_are_written_as_options_are(tmp_path: Path):
    fleet = load(write(tmp_path, FILE))
    prefill, decode = fleet.programs["prefill"], fleet.programs["decode"]
    assert prefill.command == ["python", "serve.py", "--role", "pre fill"]
    assert (prefill.cores, prefill.memory, prefill.share, prefill.device) == (12, 24 << 30, 25.0, [0, 1])
    assert prefill.environment == {"PORT": "8100", "HOST": "localhost"}
    assert prefill.ready is not None
    assert (prefill.ready.within, prefill.stop_within) == (120.0, 10.0)
    assert decode.command == ["python", "serve.py", "-n", "3"]
    assert (decode.cores, decode.memory, decode.depends_on) == (4, prefill.memory, {"prefill": "ready"})


@pytest.mark.parametrize(
    ("was", "is_now", "line", "words"),
    [
        ("cores: 12", "cores: many", 5, ("programs.prefill.cores", "'many'", "integer")),
        ("cores: 12", "cores: true", 5, ("programs.prefill.cores", "True")),
        ("cores: 12", "cores: 0", 5, ("programs.prefill.cores", "greater than or equal to 1")),
        ("cores: 12", "coers: 12", 5, ("programs.prefill.coers", "not known", "cores, memory")),
        ("    cores: 12\n", "", 3, ("programs.prefill.cores", "missing")),
        ("24GiB", "24Gip", 6, ("programs.prefill.memory", "'24Gip'", "8GiB")),
        ("25%", "125%", 7, ("programs.prefill.share", "'125%'", "25%")),
        ("PORT: 8100", "PORT: yes", 9, ("environment.PORT", "quotes")),
        ("within: 2min", "within: 2", 10, ("ready.within", "no unit", "1s")),
        ("http:", "htpp:", 10, ("ready.htpp", "http, output, attached, within")),
        ("{http", "{attached: true, http", 10, ("programs.prefill.ready", "one of them")),
        ('{http: "http://127.0.0.1:8100/health"', "{output: '('", 10, ("regular expression",)),
        ("{prefill: ready}", "{prefil: ready}", 15, ("depends_on.prefil", "name one of prefill, decode")),
        ("{prefill: ready}", "{decode: started}", 15, ("decode -> decode",)),
        ("{prefill: ready}", "{prefill: soon}", 15, ("'started', 'ready' or 'done'",)),
        ("cores: 4", "cores: 4\n    cores: 5", 15, ("cores is there twice",)),
        ("python serve.py --role 'pre fill'", "'python x", 16, ("no YAML",)),
        ("python serve.py --role 'pre fill'", '"python \'x"', 4, ("programs.prefill.command", "quotation")),
        ("python serve.py --role 'pre fill'", "[]", 4, ("programs.prefill.command", "empty")),
        ("decode:", "de/code:", 11, ("programs.de/code", "letters, digits")),
        (FILE, "", 1, ("the file", "no mapping")),
        (FILE, "programs: {}", 1, ("programs", "empty")),
        (FILE, "programs:\n  a: 3", 2, ("programs.a", "no mapping")),
        (FILE, "programs:\n  [a]: 3", 2, ("key",)),
    ],
)
def test_an_error_names_the_key_and_its_line(tmp_path: Path, was: str, is_now: str, line: int, words: tuple[str, ...]):
    file = write(tmp_path, FILE.replace(was, is_now, 1))
    with pytest.raises(InvalidValue) as caught:
        load(file)
    told = str(caught.value)
    assert told.startswith(f"{file} line {line}: ")
    assert "\n" not in told
    for word in words:
        assert word in told


def test_the_example_of_the_documentation_can_be_read(tmp_path: Path):
    page = (Path(__file__).parents[3] / "docs/cli.md").read_text()
    block = page.partition("## Several programs\n\n")[2].partition("\n\n")[0]
    fleet = load(write(tmp_path, "\n".join(line[4:] for line in block.splitlines())))
    assert {name: program.cores for name, program in fleet.programs.items()} == {"prefill": 12, "decode": 12}


def test_who_waits_for_a_sign_that_nobody_gives_is_told(tmp_path: Path):
    text = "programs:\n  a: &a {command: a, cores: 1, memory: 1GiB}\n  b: {<<: *a, depends_on: {a: ready}}\n"
    with pytest.raises(InvalidValue, match=r"line 3: programs\.b\.depends_on\.a .*; give a a ready"):
        load(write(tmp_path, text))


def test_a_circle_of_three_is_named(tmp_path: Path):
    text = "programs:\n" + "".join(
        f"  {name}: {{command: x, cores: 1, memory: 1GiB, depends_on: {{{other}: started}}}}\n"
        for name, other in (("a", "b"), ("b", "c"), ("c", "a"))
    )
    with pytest.raises(InvalidValue, match=r"line 4: .*a -> b -> c -> a"):
        load(write(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InvalidValue, match=r"nowhere\.yaml cannot be read"):
        load(tmp_path / "nowhere.yaml")
