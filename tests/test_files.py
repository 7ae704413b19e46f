"""Atomic writes: whole files, equal bytes, significant digits."""

import json

import numpy as np
import pandas as pd
import pytest

from replication import files


def test_a_file_is_replaced_whole_and_no_temporary_file_remains(tmp_path):
    path = tmp_path / "new" / "file.txt"
    assert files.write_text(path, "one") == path
    files.write_text(path, "two", fsync=True)
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = files.write_text(tmp_path / "file.txt", "old")

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="No space"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_equal_json_values_give_equal_bytes_for_any_order_of_keys(tmp_path):
    one = files.write_json(tmp_path / "one.json", {"a": 1, "b": [0.1, None]})
    two = files.write_json(tmp_path / "two.json", {"b": [0.1, None], "a": 1})
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    "value",
    [
        {"b": [], "a": {}, "c": [[], [{"x": []}]], "": "", "é\u2028": '":{}[], \\ \n\t\x01', "n": 10**30, "f": -1e-300},
        [1, [2.5, [None, True, -0.0]], "\N{GRINNING FACE}/"],
        {"half": "\ud800", "inner": [1]},
        "text",
        7,
    ],
)  # fmt: skip
def test_json_has_the_bytes_of_the_standard_library(tmp_path, value):
    path = files.write_json(tmp_path / "a.json", value)
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    assert path.read_bytes() == (text + "\n").encode("utf-8", "surrogatepass")


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "one.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_floats_are_rounded_to_significant_digits_at_every_depth_and_integers_are_not(tmp_path):
    value = {"a": [1 / 3, {"b": 2e-9 / 3, "c": -2e-17}], "n": 12345678901234567890, "t": True, "s": "0.33333333333333"}
    written = json.loads(files.write_json(tmp_path / "one.json", value, digits=4).read_text())
    assert written == {
        "a": [0.3333, {"b": 6.667e-10, "c": 0.0}],
        "n": 12345678901234567890,
        "t": True,
        "s": "0.33333333333333",
    }


def test_the_last_bits_of_a_float_change_no_csv(tmp_path):
    value = 0.1 + 0.2
    one = files.write_csv(tmp_path / "one.csv", pd.DataFrame({"x": [value, np.nan], "n": [1, 2]}), digits=10)
    two = files.write_csv(tmp_path / "two.csv", pd.DataFrame({"x": [0.3, np.nan], "n": [1, 2]}), digits=10)
    assert one.read_text() == two.read_text() == "x,n\n0.3,1\n,2\n"
    exact = files.write_csv(tmp_path / "exact.csv", pd.DataFrame({"x": [value]}))
    assert float(exact.read_text().split()[1]) == value


def test_floats_in_columns_of_objects_are_rounded_and_other_values_are_written_as_they_are(tmp_path):
    table = pd.DataFrame(
        {
            "mixed": pd.Series([0.1 + 0.2, 1, (2,), None, "0.30000000000000004"], dtype=object),
            "count": pd.Series([1, None, 2, 3, 2**60 + 1], dtype=object),
            "nullable": pd.array([1 / 3, None, 1.0, 2.0, 0.5], dtype="Float64"),
            "number": [-0.0, -1e-20, np.inf, np.nan, 2.0**60],
        }
    )
    lines = files.write_csv(tmp_path / "one.csv", table, digits=10).read_text().splitlines()
    assert lines == [
        "mixed,count,nullable,number", "0.3,1,0.3333333333,0.0", "1,,,0.0", '"(2,)",2,1.0,inf', ",3,2.0,",
        f"0.30000000000000004,{2**60 + 1},0.5,1.152921505e+18",
    ]  # fmt: skip


def test_the_last_bits_of_a_float_above_exact_counts_change_nothing():
    value = 123456789012345678901.0
    assert files.significant(value) == files.significant(np.nextafter(value, np.inf)) == 1.23456789e20
    assert files.significant(2.0**53 - 1) == 2.0**53 - 1


def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    target = files.write_text(tmp_path / "target.txt", "old")
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    files.write_text(link, "new")
    assert (target.read_text(), link.read_text(), link.is_symlink()) == ("old", "new", False)
