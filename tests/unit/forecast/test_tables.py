# SPDX-License-Identifier: Apache-2.0
"""Tables of every kind are told by their columns; rows that cannot be true are counted, and too many are an error."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flexnpu.forecast.calibration_profile import calibrate
from flexnpu.forecast.calibration_rows import seconds_of
from flexnpu.forecast.tables import Table, TableError, believed, least_seconds, ops, read_table, rows_of, work_of
from flexnpu.forecast.tables.columns import Columns
from flexnpu.hardware import load_soc

OPS = "set,op,m,n,k,batch,q,kv,heads,kv_heads,head_dim,causal,dtype,measured_us\n"


def written(folder, text, name="anything.csv"):
    file = folder / name
    file.write_text(text)
    return file


def test_our_own_table_has_products_prompts_and_running_requests(tmp_path):
    table = read_table(
        written(
            tmp_path,
            OPS
            + "a,gemm,16,4096,1024,,,,,,,,bf16,12.5\n"
            + "b,attention,,,,2,128,512,32,8,128,1,fp16,40\n"
            + "c,attention,,,,8,1,2048,32,8,128,0,fp16,60\n",
        )
    )
    assert {kind: len(rows) for kind, rows in table.parts.items()} == {"gemm": 1, "context": 1, "generation": 1}
    assert table.parts["gemm"].seconds[0] == pytest.approx(12.5e-6)
    assert table.parts["context"].sizes["cached"][0] == 384
    assert table.parts["generation"].sizes["length"][0] == 2048
    assert [rows.group[0] for rows in table] == ["a", "b", "c"]


def test_a_generation_row_of_aiconfigurator_sees_one_key_more_than_its_step(a100_table):
    assert a100_table.parts["generation"].sizes["length"].min() == 2  # step 1
    assert a100_table.parts["context"].sizes["cached"].max() == 0
    assert a100_table.facts["device"] == "NVIDIA A100-SXM4-80GB"


def test_columns_tell_the_kind_and_the_name_of_the_file_does_not(tmp_path, a100_table):
    head = "batch_size,isl,num_heads,num_key_value_heads,head_dim,step,latency\n"
    generation = read_table(written(tmp_path, head + "4,1,32,0,128,127,0.02\n", "gemm_perf.txt"))
    assert list(generation.parts) == ["generation"]
    assert generation.parts["generation"].sizes["kv_heads"][0] == 32  # 0 is as many as heads
    context = read_table(written(tmp_path, head + "4,256,32,8,128,0,0.02\n", "generation_attention_perf.csv"))
    assert list(context.parts) == ["context"]


def test_a_folder_of_llmservingsim_is_one_table(rtx_table):
    assert set(rtx_table.parts) == {"mixed", "layer"}
    assert rtx_table.facts["device"] == "RTX4090"
    assert rtx_table.facts["sizes"]["num_key_value_heads"] == 8
    assert "sampler" in set(rtx_table.parts["layer"].labels["layer"])


def test_iterations_of_splitwise_and_distserve_are_read(tmp_path):
    splitwise = read_table(
        written(
            tmp_path,
            "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,tensor_parallel\n"
            "llama2-70b,h100,512,2,128,160,37,4\n",
        )
    )
    assert splitwise.parts["prefill"].seconds[0] == pytest.approx(0.16)
    assert splitwise.parts["decode"].sizes["length"][0] == 512 + 64.5
    constants = {
        "decoding_large_small_bs_threshold": 95,
        "prefill": [18.0, 0.1, 7e-6],
        "decoding_smallbs": [20.0, 6e-4, 0.04],
        "decoding_largebs": [7.0, 6e-4, 0.16],
    }
    distserve = read_table(written(tmp_path, json.dumps({"opt": {"1": constants}}), "profile.json"))
    rows = distserve.parts["prefill"]
    first = (rows.sizes["length"] == 512) & (rows.sizes["batch"] == 1)
    assert rows.seconds[first][0] == pytest.approx((18.0 + 0.1 * 512 + 7e-6 * 512**2) * 1e-3)


def test_parquet_is_read_where_pyarrow_is(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"gemm_dtype": ["bfloat16"], "m": [1], "n": [2048], "k": [1024], "latency": [0.004]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x")
    assert read_table(tmp_path / "x").parts["gemm"].labels["dtype"][0] == "bf16"


def test_without_pyarrow_the_error_names_the_command(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(b"PAR1rest")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(TableError, match=r"pip install 'flexnpu\[tables\]'"):
        read_table(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 rows"),
        ("a,b\n", "0 rows"),
        ("a,b\n1,2\n", "are no known table"),
        ("op,measured_us\nconvolution,5\n", "must be gemm or attention"),
        ("m,n,k,latency\n1,2,3,\xff\n", "not a table"),
    ],
)
def test_a_file_that_is_no_table_is_one_clear_error(tmp_path, text, said):
    file = tmp_path / "x.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(TableError, match=said):
        read_table(file)


def test_a_place_where_nothing_is_and_a_folder_without_tables_are_errors(tmp_path):
    with pytest.raises(TableError, match="does not exist"):
        read_table(tmp_path / "nothing")
    with pytest.raises(TableError, match="no table in it"):
        read_table(tmp_path)


def table_with(tmp_path, bad, count=40):
    good = "".join(f"a,gemm,{m},4096,4096,,,,,,,,bf16,{30 + m}\n" for m in range(1, count + 1))
    return read_table(written(tmp_path, OPS + good + bad))


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        ("a,gemm,8192,8192,8192,,,,,,,,bf16,100\n", "faster than Ascend910B2 can be"),
        ("a,gemm,8,4096,4096,,,,,,,,bf16,nan\n", "not a positive number"),
        ("a,gemm,8,4096,4096,,,,,,,,bf16,-3\n", "not a positive number"),
        ("a,gemm,8,4096,4096,,,,,,,,bf16,none\n", "not a positive number"),
        ("a,gemm,-8,4096,4096,,,,,,,,bf16,30\n", "m is not a positive number"),
        ("a,gemm,64,0.5,4096,,,,,,,,bf16,30\n", "n is no whole number"),
    ],
)
def test_a_row_that_cannot_be_true_is_rejected_with_its_rule_and_count(tmp_path, b2, bad, rule):
    table = believed(table_with(tmp_path, bad), b2)
    assert len(table.parts["gemm"]) == 40
    (rejection,) = table.rejected
    assert rejection.count == 1
    assert rule in str(rejection)


def test_a_line_that_was_cut_off_is_a_row_that_cannot_be_true(tmp_path, b2):
    table = believed(table_with(tmp_path, "a,gemm,8,40"), b2)
    assert len(table.parts["gemm"]) == 40
    assert table.rejected[0].count == 1


def test_a_table_of_nonsense_is_refused(tmp_path, b2):
    bad = "a,gemm,8192,8192,8192,,,,,,,,bf16,100\n" * 10
    with pytest.raises(TableError, match="10 of 50 rows cannot be true, at most 10% may be"):
        believed(table_with(tmp_path, bad), b2, "ops.csv")


def test_no_measured_row_is_under_the_physical_limit(a100_table):
    soc = load_soc("A100")
    for kind in ("gemm", "context", "generation"):
        rows = a100_table.parts[kind]
        assert (rows.seconds > 0.93 * least_seconds(rows, soc)).all()


def test_a_window_bounds_what_is_seen():
    sizes = {
        "batch": [2.0] * 3,
        "new": [4.0] * 3,
        "cached": [0.0, 10.0, 0.0],
        "heads": [1.0] * 3,
        "kv_heads": [1.0] * 3,
    }
    rest = {"head_dim": [1.0] * 3, "window": [0.0, 3.0, 3.0], "causal": [1.0] * 3}
    rows = rows_of("context", {**sizes, **rest}, {"dtype": ["bf16"] * 3, "kv_dtype": ["bf16"] * 3}, [1.0] * 3)
    work = work_of(rows)
    assert work is not None
    # 1 + 2 + 3 + 4 pairs; 3 each; 1 + 2 + 3 + 3.
    assert (work.flops / 8).tolist() == [10.0, 12.0, 9.0]
    assert np.isfinite(work.bytes).all()


def test_a_table_without_a_set_is_one_set_of_all(tmp_path):
    table = read_table(written(tmp_path, "op,m,n,k,dtype,measured_us\ngemm,1,4096,4096,bf16,30\n"))
    assert table.parts["gemm"].group.tolist() == ["all"]


def test_a_zero_that_parquet_has_as_a_number_is_no_mask():
    columns = {"op": ["attention"] * 3, "q": [64] * 3, "kv": [64] * 3, "heads": [8] * 3, "causal": [0, False, 1]}
    assert ops.read(Columns({**columns, "measured_us": [30.0] * 3}, "x")).parts["context"].sizes["causal"].tolist() == [
        0.0,
        0.0,
        1.0,
    ]


def test_a_line_cut_off_in_a_table_of_attention_alone_is_counted_with_its_row(tmp_path, b2):
    good = "".join(f"attention,1,1,{128 + n},32,8,128,bf16,{30 + n}\n" for n in range(40))
    text = "op,batch,q,kv,heads,kv_heads,head_dim,dtype,measured_us\n" + good + "attention,1\n"
    table = believed(read_table(written(tmp_path, text)), b2)
    assert len(table.parts["generation"]) == 40
    (rejection,) = table.rejected
    assert rejection.count == 1
    assert "too few or too many fields (row 41" in str(rejection)


@pytest.mark.parametrize("name", ["", "convolution"])
def test_a_row_of_an_operator_that_is_not_known_is_counted_with_its_row(tmp_path, b2, name):
    table = believed(table_with(tmp_path, f"a,{name},8,4096,4096,,,,,,,,bf16,30\n"), b2)
    assert len(table.parts["gemm"]) == 40
    (rejection,) = table.rejected
    assert "op must be gemm or attention (row 4" in str(rejection)


def test_a_row_that_cannot_be_true_is_told_by_its_place_in_the_file(tmp_path, b2):
    (rejection,) = believed(table_with(tmp_path, "a,gemm,8,4096,4096,,,,,,,,bf16,nan\n"), b2).rejected
    rows = len((tmp_path / "anything.csv").read_text().splitlines()) - 1
    assert rejection.places == (rows,)


def test_a_line_cut_off_in_an_attention_table_of_aiconfigurator_is_one_row(tmp_path):
    head = "op_name,batch_size,isl,num_heads,num_key_value_heads,head_dim,step,attn_dtype,kv_cache_dtype,latency\n"
    good = "".join(f"generation_attention,1,1,32,8,128,{128 + n},bfloat16,bfloat16,0.0{30 + n}\n" for n in range(40))
    table = believed(read_table(written(tmp_path, head + good + "generation_att\n")), load_soc("A100"))
    assert len(table.parts["generation"]) == 40
    assert sum(each.count for each in table.rejected) == 1


def test_fp32_is_as_quick_as_the_device_says():
    soc = load_soc("A100")  # TF32: half of the rate of 16 bits
    sizes = {name: [8192.0] for name in "mnk"}
    quick = rows_of("gemm", sizes, {"dtype": ["fp32"]}, [1.1 * 2 * 8192.0**3 / (0.5 * soc.peak_flops)])
    assert believed(Table("ops", {"gemm": quick}), soc).rows == 1


def test_queries_without_a_mask_may_be_more_than_keys(tmp_path, b2):
    text = "op,batch,q,kv,heads,kv_heads,head_dim,causal,dtype,measured_us\n"
    text += "attention,1,4096,512,8,8,128,0,bf16,100\nattention,1,512,512,8,8,128,0,bf16,30\n"
    table = believed(read_table(written(tmp_path, text)), b2)
    assert not table.rejected
    assert table.parts["context"].sizes["cached"].tolist() == [512.0 - 4096.0, 0.0]
    told = seconds_of(table.parts["context"], b2, calibrate(table, b2))
    assert (told > 0).all() and told[0] > told[1]
    with pytest.raises(TableError, match="cached is not"):
        believed(read_table(written(tmp_path, text.replace("128,0,", "128,1,"))), b2)
