import ast
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.collect.scaffolds.parsing import Malformed
from replication.collect.scaffolds.python_calls import read_calls

NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(NAMES, st.dictionaries(NAMES, VALUES, max_size=3)), min_size=1, max_size=3))
def test_what_python_would_read_is_read(calls):
    text = ", ".join(f"{name}({', '.join(f'{k}={v!r}' for k, v in values.items())})" for name, values in calls)
    assert read_calls(f"[{text}]") == calls


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it''s'", None), ("'it\\'s'", "it's"), ('"a\\tb\\x41\\u00e9\\U0001F600\\q\\0"', "a\tbA\u00e9\U0001f600\\q\0"),
        ("(1, 2,)", [1, 2]), ('"""a"b\n"""', 'a"b\n'), ("''", ""), ("+3", 3),
        ("-.5", None), ("1.", 1.0), ("1.e3", 1000.0), ("true", True), ("[1, [2]]", [1, [2]]),
        ("'\\ud83d\\ude00 \\ud83d'", "\U0001f600 \ufffd"), ("{'a': {}}", {"a": {}}),
    ],
)  # fmt: skip
def test_argument_is_the_value_that_python_gives_it(text, value):
    if value is None:
        with pytest.raises(Malformed):
            read_calls(f"[f(x={text})]")
    else:
        assert read_calls(f"[f(x={text})]") == [("f", {"x": value})]


@pytest.mark.parametrize(
    "text",
    [
        "[f(", "[f()", "[f(x=1)] more", "[f(1)]", "[f(x=g())]", "[f(x=1, x=2)]", "[f(**{})]", "f()", "[f(x=1+1)]",
        "[f(x=a)]",
        "[f(x={1: 2})]", "[f(x='a\nb')]", "[f() g()]", "[f(x=" + "[" * 40 + "]" * 40 + ")]", "[f(x=" + "9" * 400 + ")]",
        "[,]",
        "[f(x=1e999)]", "[f(x=nan)]",
    ],
)  # fmt: skip
def test_anything_else_is_malformed(text):
    with pytest.raises(Malformed, match=r"^error: "):
        read_calls(text)


def test_numbers_equal_those_of_python():
    for text in ("0", "-7", "3.25", "1e-3", "12E4", "0.1"):
        ((_, values),) = read_calls(f"[f(x={text})]")
        assert math.isclose(values["x"], ast.literal_eval(text)) and type(values["x"]) is type(ast.literal_eval(text))
