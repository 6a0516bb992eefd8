# SPDX-License-Identifier: Apache-2.0
import pytest

from flexnpu.demo.trace import HEAD, Arrival, read_azure, shorten_gaps
from flexnpu.errors import InvalidValue

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@pytest.fixture
def trace(tmp_path):
    def write(*rows, header=HEADER):
        path = tmp_path / "trace.csv"
        path.write_text(header + "".join(f"{row}\n" for row in rows))
        return path

    return write


def test_the_trace_that_is_shipped_begins_at_zero_and_is_in_order():
    arrivals = read_azure(HEAD, 3)
    assert arrivals[0].at == 0
    assert [each.at for each in arrivals] == sorted(each.at for each in arrivals)
    assert arrivals[-1].at < 180
    assert (len(arrivals), len(read_azure(HEAD, 5))) == (63, 760)


def test_seven_digits_of_a_second_are_read(trace):
    path = trace("2023-11-16 18:17:03.9799600,4808,10", "2023-11-16 18:17:04.4799600,3180,8")
    first, second = read_azure(path, 1)
    assert (first.prompt, first.output) == (4808, 10)
    assert second.at == pytest.approx(0.5)


def test_minutes_end_the_trace(trace):
    path = trace("2023-11-16 18:00:00,10,1", "2023-11-16 18:00:59,10,1", "2023-11-16 18:01:00,10,1")
    assert [each.at for each in read_azure(path, 1)] == [0, 59]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("yesterday,10,1", "line 2"),
        ("2023-11-16 18:00:00,many,1", "many"),
        ("2023-11-16 18:00:00,10", "line 2"),
        ("2023-11-16 18:00:00,0,1", "0 prompt and 1 output tokens; give at least 1 of each"),
        ("2023-11-16 18:00:00,10,0", "10 prompt and 0 output tokens"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(trace, row, says):
    path = trace(row)
    with pytest.raises(InvalidValue, match=says) as caught:
        read_azure(path, 1)
    assert str(path) in str(caught.value)


def test_other_columns_no_row_and_no_file_are_refused(trace, tmp_path):
    with pytest.raises(InvalidValue, match=r"columns \['a', 'b'\]; give TIMESTAMP"):
        read_azure(trace("1,2", header="a,b\n"), 1)
    with pytest.raises(InvalidValue, match="no request"):
        read_azure(trace(), 1)
    with pytest.raises(InvalidValue, match=r"nowhere\.csv cannot be read"):
        read_azure(tmp_path / "nowhere.csv", 1)


def test_long_gaps_are_shortened_and_short_ones_kept():
    arrivals = [Arrival(at, 1, 1) for at in (0.0, 2.0, 20.0, 21.0, 60.0)]
    assert [each.at for each in shorten_gaps(arrivals, 6.0)] == [0, 2, 8, 9, 15]
    assert shorten_gaps([], 6.0) == []
