"""The import law of README, late imports, and one place for each kind of thing; checked by reading the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "replication"
BASE = ("records", "errors", "files", "text")

LAW = {
    "records": (), "errors": (), "files": BASE, "text": BASE,
    "settings": BASE,
    "store": (*BASE, "settings"),
    "collect": (*BASE, "settings", "store"),
    "analyse": (*BASE, "settings", "store"),
    "analyse.stats": ("records", "errors"),
    "publish": (*BASE, "settings", "store", "analyse"),
    "commands": (*BASE, "settings", "store", "collect", "analyse", "publish"),
    "__main__": (*BASE, "settings"),
}  # fmt: skip
"""What a part of the package may import of ours, besides itself; the longest matching name counts. No exemptions."""

KINDS = ("engines", "benchmarks", "scaffolds")
"""Kinds of parts of `collect`: none imports another; `build` picks them and `episodes` knows only their interfaces."""

HEAVY = {"torch", "vllm", "transformers", "wandb", "tokenizers", "safetensors"}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """Every module of ours that a file imports, relative to the package; `from a import b` counts as both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("replication.") for name in found if name.startswith("replication.")} - {"__version__"}


def within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def each(sources=SOURCES):
    return pytest.mark.parametrize("path", sources, ids=lambda path: dotted(path) or "replication")


@each([path for path in SOURCES if dotted(path)])
def test_a_part_imports_only_what_the_law_allows(path):
    parts = [part for part in LAW if within(dotted(path), part)]
    assert parts, f"`{dotted(path)}` is in none of the parts {', '.join(LAW)}"
    part = max(parts, key=len)
    allowed = (*LAW[part], part)
    outside = sorted(name for name in imported(path) if not any(within(name, other) for other in allowed))
    assert not outside, f"`{dotted(path)}` may import {', '.join(allowed)}; it imports {', '.join(outside)}"


@each([path for path in SOURCES if dotted(path).split(".")[:1] == ["collect"]])
def test_engines_benchmarks_and_scaffolds_meet_only_in_build(path):
    me = dotted(path)
    own = next((kind for kind in KINDS if within(me, f"collect.{kind}")), None)
    others = [kind for kind in KINDS if kind != own]
    if own or me == "collect.episodes":
        assert not [name for name in imported(path) for kind in others if within(name, f"collect.{kind}")]


def test_the_package_itself_imports_nothing_and_records_and_errors_only_the_standard_library():
    assert not imported(PACKAGE / "__init__.py")
    for name in ("records", "errors"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert all(module.split(".")[0] in sys.stdlib_module_names for module in names)


@each()
def test_heavy_packages_are_imported_inside_functions(path):
    top = [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & HEAVY


def test_analysis_works_without_the_packages_that_collecting_needs():
    modules = [
        dotted(path) for path in SOURCES if dotted(path).split(".")[0] in ("analyse", "publish", "store", "commands")
    ]
    code = f"""
import sys
from importlib import import_module
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(HEAVY)}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
for module in {modules}:
    import_module("replication." + module)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


@pytest.mark.parametrize("command", ["run", "train", "paper", "plan", "audit"])
def test_help_imports_nothing_slow(command):
    code = f"""
import sys
from replication.__main__ import main
main([{command!r}, "--help"])
slow = {{"torch", "vllm", "transformers", "pandas", "scipy", "matplotlib", "wandb", "numpy", "hydra"}} & set(sys.modules)
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    assert command in done.stdout


def test_every_command_is_listed_and_every_listed_command_exists():
    from replication.__main__ import OTHER_COMMANDS, STUDY_COMMANDS

    files = {path.stem for path in (PACKAGE / "commands").glob("*.py")} - {"__init__"}
    assert files == set(STUDY_COMMANDS) | set(OTHER_COMMANDS)
