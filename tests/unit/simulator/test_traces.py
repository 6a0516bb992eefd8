# SPDX-License-Identifier: Apache-2.0
import itertools
import json
import tracemalloc

import pytest

from flexnpu.simulator.traces import LONGEST_LINE, MOST_TOKENS, TraceError, make_trace, totals

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
OWN = "arrival_s,prompt_tokens,output_tokens"


@pytest.fixture
def write(tmp_path):
    def write(*lines, name="trace", end="\n"):
        file = tmp_path / name
        file.write_bytes(("\n".join(lines) + end).encode())
        return str(file)

    return write


def mooncake(timestamp, prompt, output, blocks=()):
    return json.dumps(
        {"timestamp": timestamp, "input_length": prompt, "output_length": output, "hash_ids": list(blocks)}
    )


def read(source, form, **options):
    return list(make_trace([source], [form], **options))


def test_azure_times_count_from_the_first_request(write):
    file = write(AZURE, "2023-11-16 18:17:03.9799600,4808,10", "2023-11-16 18:17:04.4799600,110,27")
    assert read(file, "azure") == [(0.0, 4808, 10, ()), (pytest.approx(0.5), 110, 27, ())]


def test_azure_files_with_zones_and_without_fractions_are_read_the_same(write):
    file = write(AZURE, "2024-03-31 00:59:59+00:00,1,2", "2024-03-31 03:00:00.5+02:00,3,4", "2024-03-31 01:00:01,5,6")
    assert [arrival.seconds for arrival in read(file, "azure")] == [0.0, 1.5, 2.0]


def test_windows_line_ends_a_byte_order_mark_and_empty_lines_do_not_matter(write):
    file = write("\ufeff" + OWN + "\r", "0,1,2\r", "\r", "1.5,3,4\r", "", end="")
    assert read(file, "csv") == [(0.0, 1, 2, ()), (1.5, 3, 4, ())]


def test_mooncake_has_milliseconds_and_hash_ids(write):
    file = write(mooncake(1000, 600, 20, [7, 8]), mooncake(3500, 100, 5, [7]))
    assert read(file, "mooncake") == [(0.0, 600, 20, [7, 8]), (2.5, 100, 5, [7])]


def test_a_limit_takes_the_first_requests_and_does_not_look_at_the_rest(write):
    file = write(OWN, "0,1,2", "1,3,4", "broken")
    assert len(read(file, "csv", limits=[2])) == 2
    with pytest.raises(TraceError, match="broken"):
        read(file, "csv", limits=[3])


def test_a_rate_scale_brings_requests_closer_and_leaves_their_lengths(write):
    file = write(OWN, "10,1,2", "14,3,4")
    assert read(file, "csv", rate_scales=[4.0]) == [(0.0, 1, 2, ()), (1.0, 3, 4, ())]


def test_a_phase_change_starts_one_mean_gap_after_the_last_request_of_the_part_before(write):
    first = write(OWN, "5,1,1", "6,1,1", "9,1,1", name="a")
    second = write(mooncake(70_000, 9, 9, [1]), mooncake(71_000, 9, 9, [1]), name="b")
    trace = make_trace([first, second], ["csv", "mooncake"])
    assert [arrival.seconds for arrival in trace] == [0.0, 1.0, 4.0, 6.0, 7.0]


def test_each_part_has_its_own_rate_and_limit(write):
    first = write(OWN, "0,1,1", "2,1,1", "9,1,1", name="a")
    second = write(OWN, "0,2,2", "1,2,2", name="b")
    trace = make_trace([first, second], ["csv"], limits=[2, None], rate_scales=[2.0, 0.5])
    assert [arrival.seconds for arrival in trace] == [0.0, 1.0, 2.0, 4.0]


def test_prefix_blocks_are_shared_within_a_file_and_not_between_files(write):
    first, second = write(mooncake(0, 9, 9, [1, 2]), name="a"), write(mooncake(0, 9, 9, [1, 2]), name="b")
    blocks = [arrival.blocks for arrival in make_trace([first, second, first], ["mooncake"])]
    assert blocks[0] == blocks[2]
    assert not set(blocks[0]) & set(blocks[1])


def test_a_trace_can_be_read_again_and_scaled(write):
    trace = make_trace([write(OWN, "0,1,2", "4,3,4")], ["csv"])
    assert list(trace) == list(trace)
    assert totals(trace.scaled(2)) == (2, 2.0, 4, 6, 3, 4)
    assert totals(trace).rate == 0.25


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("csv", (OWN, "1700000000.25,5,1", "1700000001.5,5,1")),
        ("mooncake", (mooncake(1700000000250, 5, 1), mooncake(1700000001500, 5, 1))),
    ],
)
def test_times_may_be_counted_from_1970(write, form, lines):
    assert [arrival.seconds for arrival in read(write(*lines), form)] == [0.0, 1.25]


@pytest.mark.parametrize(
    ("form", "lines", "named"),
    [
        ("csv", (OWN, "0,-5,2"), "line 2: prompt_tokens is '-5'; allowed: whole numbers from 1 to"),
        ("csv", (OWN, "0,5,0"), "line 2: output_tokens is '0'"),
        ("csv", (OWN, "0,5,ten"), "output_tokens is 'ten'"),
        ("csv", (OWN, "0,5.5,1"), "prompt_tokens is '5.5'"),
        ("csv", (OWN, f"0,{MOST_TOKENS + 1},1"), "prompt_tokens is '16777217'"),
        ("csv", (OWN, "nan,5,1"), "arrival_s is 'nan'; allowed: seconds from 0 to 1e"),
        ("csv", (OWN, "-1,5,1"), "arrival_s is '-1'"),
        ("csv", (OWN, "inf,5,1"), "arrival_s is 'inf'"),
        ("csv", (OWN, "soon,5,1"), "arrival_s is 'soon'"),
        ("csv", (OWN, "3,5,1", "2.5,5,1"), "line 3: the request comes 0.5 s before the one above it"),
        (
            "csv",
            (OWN, "5,5,1", "1000000006,5,1"),
            "line 3: the request comes 1000000001 s after the first; allowed: traces of",
        ),
        ("csv", (OWN, "1700000000000000,5,1"), "arrival_s is '1700000000000000'; allowed: seconds from 0 to 1e+12"),
        ("csv", (OWN, "0,5"), "has 2 of 3 columns"),
        ("csv", (OWN, "0,5,1,9"), "has 4 of 3 columns"),
        ("csv", ("a,b,c", "0,5,1"), f"line 1: the header is 'a,b,c'; it must be {OWN}"),
        ("csv", (OWN,), "has no request"),
        ("csv", ("",), f"is empty; give a file whose first line is {OWN}"),
        ("mooncake", ("",), "has no request"),
        ("azure", (OWN, "0,5,1"), f"it must be {AZURE}"),
        ("azure", (AZURE, "yesterday,5,1"), "TIMESTAMP is 'yesterday'; allowed: times such as 2023-11-16"),
        ("azure", (AZURE, "2023-11-16 18:17:04,5,-1"), "GeneratedTokens is '-1'"),
        (
            "azure",
            (AZURE, "2023-11-16 18:17:04,5,1", "2023-11-16 18:17:03,5,1"),
            "line 3: the request comes 1 s before",
        ),
        ("mooncake", ("{}",), "line 1: timestamp is 'None'; allowed: milliseconds"),
        ("mooncake", (mooncake(-1, 5, 5),), "timestamp is '-1'"),
        ("mooncake", (mooncake(True, 5, 5),), "timestamp is 'True'"),
        ("mooncake", (mooncake(float("nan"), 5, 5),), "timestamp is 'nan'"),
        ("mooncake", (mooncake(0, -5, 5),), "input_length is '-5'"),
        ("mooncake", (mooncake(0, 5, "9"),), "output_length is '9'"),
        ("mooncake", (mooncake(0, 5, 9, ["x"]),), "hash_ids is"),
        ("mooncake", ("[1]",), "is not an object"),
        ("mooncake", ("[" * 100_000,), "is not JSON"),
        ("mooncake", ('{"timestamp": 0, "input_le',), "is not JSON"),
    ],
)
def test_a_broken_line_is_one_error_with_file_line_value_and_what_is_allowed(write, form, lines, named):
    file = write(*lines)
    with pytest.raises(TraceError) as caught:
        read(file, form)
    message = str(caught.value)
    assert file in message
    assert named in message
    assert "\n" not in message
    assert "; " in message  # the next step
    assert len(message) < 400


@pytest.mark.parametrize(("form", "line"), [("csv", "2,5"), ("azure", "2023-11-16 18:"), ("mooncake", '{"timest')])
def test_a_last_line_that_is_cut_off_says_so_and_how_to_stop_before_it(write, form, line):
    good = {"csv": (OWN, "0,1,1"), "azure": (AZURE, "2023-11-16 18:17:04,1,1"), "mooncake": (mooncake(0, 1, 1),)}
    file = write(*good[form], line, end="")
    with pytest.raises(TraceError, match=r"line \d: the last line seems cut off.*--limit 1"):
        read(file, form)
    assert len(read(file, form, limits=[1])) == 1


def test_a_whole_last_line_needs_no_line_end(write):
    assert len(read(write(OWN, "0,1,1", "1,2,2", end=""), "csv")) == 2


def test_a_file_of_zeros_is_refused_without_being_read_into_memory(tmp_path):
    file = tmp_path / "zeros"
    with file.open("wb") as stream:
        stream.truncate(1 << 34)
    tracemalloc.start()
    with pytest.raises(TraceError, match=f"over {LONGEST_LINE} bytes"):
        read(str(file), "mooncake")
    assert tracemalloc.get_traced_memory()[1] < 20 * LONGEST_LINE
    tracemalloc.stop()


def test_bytes_that_are_no_text_are_an_error_in_one_line(tmp_path):
    file = tmp_path / "noise"
    file.write_bytes(OWN.encode() + b"\n\xff\xfe\x00,\x80,1\n")
    with pytest.raises(TraceError, match="line 2: arrival_s is"):
        read(str(file), "csv")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"sources": [], "formats": ["csv"]}, "no trace"),
        ({"sources": ["nowhere"], "formats": ["csv"]}, "nowhere cannot be read"),
        ({"sources": ["."], "formats": ["csv"]}, "is a folder"),
        (
            {"sources": ["a"], "formats": ["xml"]},
            "--format 'xml' is not known; give one of azure, mooncake, csv, synthetic",
        ),
        ({"sources": ["a"], "formats": ["csv"], "limits": [0]}, "--limit 0"),
        ({"sources": ["a"], "formats": ["csv"], "rate_scales": [0.0]}, "--rate-scale 0"),
        ({"sources": ["a"], "formats": ["csv"], "rate_scales": [float("nan")]}, "--rate-scale nan"),
        ({"sources": ["a", "b", "c"], "formats": ["csv", "csv"]}, "--format is given 2 times for 3 traces"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_read(options, named):
    with pytest.raises(TraceError, match=named):
        make_trace(**options)


def test_memory_does_not_grow_with_the_trace(tmp_path):
    peaks = []
    for rows in (2_000, 40_000):
        file = tmp_path / f"{rows}.csv"
        with file.open("w") as stream:
            stream.write(OWN + "\n")
            stream.writelines(f"{row},100,10\n" for row in range(rows))
        trace = make_trace([str(file)], ["csv"])
        tracemalloc.start()
        assert totals(trace).requests == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_a_poisson_load_comes_from_its_seed_and_has_its_rate():
    text = "rate=4,requests=4000,prompt=1024,output=256,seed=7"
    load = read(text, "synthetic")
    assert load == read(text, "synthetic")
    assert load != read(text.replace("seed=7", "seed=8"), "synthetic")
    assert totals(make_trace([text], ["synthetic"])).rate == pytest.approx(4, rel=0.05)
    assert {arrival[1:3] for arrival in load} == {(1024, 256)}


def test_a_load_without_a_rate_all_waits_at_the_start():
    assert {arrival.seconds for arrival in read("requests=5,prompt=1,output=1", "synthetic")} == {0.0}


def test_a_billion_requests_are_drawn_one_by_one():
    trace = make_trace(["rate=4,requests=1000000000,prompt=10,output=5"], ["synthetic"])
    assert len(list(itertools.islice(trace, 3))) == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rate=0,requests=1,prompt=1,output=1", "rate is '0'; give numbers from 1e-06"),
        ("requests=1.5,prompt=1,output=1", "requests is '1.5'; give whole numbers"),
        ("requests=1,prompt=1", "has no output"),
        ("speed=1", "'speed' is not a field"),
        ("", "'' is not a field"),
    ],
)
def test_a_broken_load_is_refused_with_an_example(text, named):
    with pytest.raises(TraceError, match=named):
        make_trace([text], ["synthetic"])
