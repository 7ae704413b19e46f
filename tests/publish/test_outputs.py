"""The registry of outputs lists every figure and table of the paper once, and nothing else."""

import ast
import re
from pathlib import Path

import pytest

from replication.publish import figures
from replication.publish.outputs import OUTPUTS, FigureOutput, TableOutput

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "replication"
TEXT_LAW = [
    path
    for part in ("publish", "analyse")
    for path in sorted((PACKAGE / part).rglob("*.py"))
    if "stats" not in path.relative_to(PACKAGE).parts  # may not import text; its reasons for a criterion are prose
]


def listed(path):
    return [output for output in OUTPUTS if output.matches(path)]


def test_every_tracked_file_of_the_paper_is_listed_once():
    files = [path.relative_to(ROOT / "paper").as_posix() for path in (ROOT / "paper/data").rglob("*") if path.is_file()]
    assert files
    assert {path: len(listed(path)) for path in files} == dict.fromkeys(files, 1)


def test_every_listed_table_of_the_paper_is_tracked():
    files = [path.relative_to(ROOT / "paper").as_posix() for path in (ROOT / "paper/data").rglob("*")]
    tables = [output for output in OUTPUTS if not isinstance(output, FigureOutput)]
    assert [output.path for output in tables if not any(output.matches(path) for path in files)] == []


def test_every_drawing_module_draws_a_listed_figure_and_every_listed_module_exists():
    drawing = {path.stem for path in Path(figures.__file__).parent.glob("*.py")} - {"__init__", "style"}
    assert {Path(output.module).stem for output in OUTPUTS if isinstance(output, FigureOutput)} == drawing
    assert [output.module for output in OUTPUTS if not (PACKAGE / output.module).is_file()] == []


def test_no_output_is_listed_twice():
    for key in ("path", "title"):
        values = [getattr(output, key) for output in OUTPUTS]
        assert len(set(values)) == len(values)
    assert {type(output) for output in OUTPUTS if output.path.startswith("figures/")} == {FigureOutput}
    assert TableOutput in {type(output) for output in OUTPUTS}


ARITHMETIC = {"analysis_settings.py": ["round()"]}
"""Rounding that removes a rounding error and prints nothing."""


def formats(path):
    """Rounding outside `replication.text`: calls of round, and format specifications with a type for numbers."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "round":
            yield f"{path.name}:{node.lineno} round()"
        if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            spec = "".join(part.value for part in node.format_spec.values if isinstance(part, ast.Constant))
            if re.search(r"[.%]|[eEfFgGn]$", spec):
                yield f"{path.name}:{node.lineno} :{spec}"
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.search(r"\{\w*:[^}]*[%eEfFgG]\}", node.value)
        ):
            yield f"{path.name}:{node.lineno} {node.value!r}"


@pytest.mark.parametrize("path", TEXT_LAW, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_text_rounds(path):
    found = [text.partition(" ")[2] for text in formats(path)]
    assert found == ARITHMETIC.get(path.name, []), list(formats(path))


def test_rounding_is_recognised(tmp_path):
    source = tmp_path / "one.py"
    source.write_text(
        "a = f'{x:.2f}'\nb = round(x)\nc = f'{x:+.1f} {x:g}'\nd = '{:.3f}'.format(x)\ne = f'{x:>8} {name:11}'\n"
    )
    assert len(list(formats(source))) == 5
