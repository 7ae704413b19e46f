"""Every command prints under every encoding, and files are UTF-8 under every locale."""

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from replication import settings, streams

ROOT = settings.CONF.parent


def printed(text: str, encoding: str, monkeypatch) -> str:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    streams.print_any_text()
    print(text, end="", flush=True)
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("text", "in_ascii"),
    [
        ("−3.1 [−5.0, 1.2]", "-3.1 [-5.0, 1.2]"), ("2 × 3 ≥ 5 → yes", "2 x 3 >= 5 -> yes"), ("Zoë – τ, ρ", "Zoe - tau, rho"),
        ("模型", "\\u6a21\\u578b"), ("10²", "10^2"), ("3½ …", "3 1/2 ..."), ("plain", "plain"),
    ],
)  # fmt: skip
def test_signs_that_ascii_lacks_are_written_so_that_numbers_keep_their_meaning(text, in_ascii, monkeypatch):
    assert printed(text, "ascii", monkeypatch) == in_ascii


def test_signs_that_the_encoding_has_are_kept(monkeypatch):
    assert printed("Zoë × −1", "latin-1", monkeypatch) == "Zoë × -1"
    assert printed("Zoë × −1", "utf-8", monkeypatch) == "Zoë × −1"


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=lambda variables: next(iter(variables)),
)
@pytest.mark.parametrize(
    "command", [["audit", "tests/commands/example_table.csv"], ["evidence"], ["show", "task=calling"], ["--help"]]
)
def test_commands_print_where_standard_output_is_ascii(command, variables, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "replication", *command], cwd=ROOT, capture_output=True, env=os.environ | variables
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.decode("ascii")) > 300 and not done.stderr


@pytest.mark.slow
def test_paper_is_the_same_where_the_locale_is_ascii(tmp_path):
    outputs = []
    for name, variables in (("utf8", {}), ("c", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})):
        command = ["paper", "study=reanalysis", f"paths.paper={tmp_path / name}"]
        done = subprocess.run(
            [sys.executable, "-m", "replication", *command], cwd=ROOT, capture_output=True, env=os.environ | variables
        )
        assert done.returncode == 0, done.stderr
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file() and path.name != "lock")
        outputs.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files})
    assert outputs[0] == outputs[1]


OPENERS = {"open", "read_text", "write_text"}


def without_encoding(source: str) -> list[int]:
    """List the lines that open a text file in the encoding of the locale."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
        modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        of_ours = owner in ("files", "os", "scaffold", "self") or (not owner and name != "open")
        # Only the opener of a URL has a timeout.
        named = bool({"encoding", "timeout"} & {keyword.arg for keyword in node.keywords})
        if name in OPENERS and not (of_ours or named or any("b" in mode for mode in modes)):
            lines.append(node.lineno)
    return lines


def test_text_file_in_the_encoding_of_the_locale_is_found():
    assert without_encoding("path.open()\nopen(p, 'rb')\np.read_text(encoding='utf-8')\np.open(newline='')") == [1, 4]


@pytest.mark.parametrize("path", sorted((ROOT / "replication").rglob("*.py")), ids=lambda path: path.stem)
def test_every_text_file_is_opened_as_utf_8(path: Path):
    assert without_encoding(path.read_text(encoding="utf-8")) == []
