"""The import table of the design, and late imports, held by reading the source."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "replication"
FREE = {"records", "errors", "interfaces"}
COLLECT = {"engines", "benchmarks", "scaffolds", "training", "runner", "store", "schemas"}
ENTRY = {"cli", "schemas", "config", "runner", "store", "training", "tracking", "progress"}

ALLOWED = {
    "records": set(), "errors": set(), "interfaces": {"records"},
    "claims": set(), "evidence": set(), "store": set(), "stats": set(), "figures": set(), "tables": set(),
    "engines": set(), "benchmarks": set(), "scaffolds": set(), "episodes": set(), "progress": set(),
    "schemas": set(), "cli": {"schemas"}, "tracking": {"schemas"},
    "training": {"benchmarks", "scaffolds"},
    "runner": {"episodes", "store", "progress"},
    "config": COLLECT,
    # run asks stats.monitor for its stopping rule and for nothing else.
    "train": ENTRY, "run": ENTRY | {"stats"}, "bases": ENTRY | {"train"}, "calibrate": ENTRY | {"train", "run"},
    "plan": ENTRY | {"stats"}, "replicate": set(),
    "show": {"benchmarks", "scaffolds", "episodes"},
    "reanalysis": {"evidence", "stats", "tables"},
    "rules": {"stats", "tables"},
    "verdicts": {"claims", "evidence", "store", "stats", "rules"},
    "audit": {"evidence", "stats", "figures", "tables", "schemas"},
    "report": {"claims", "evidence", "store", "verdicts", "figures", "tables", "cli", "schemas"},
    "paper": {"claims", "evidence", "store", "verdicts", "stats", "figures", "tables", "report", "cli", "schemas",
              "reanalysis", "rules"},
}  # fmt: skip
"""What a module may import of ours besides records, errors, interfaces and itself: one direction, two halves."""

HEAVY = {"torch", "vllm", "transformers", "wandb", "tokenizers", "safetensors"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module
            found |= {node.module} if node.module != "replication" else {f"replication.{a.name}" for a in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_only_what_the_table_allows(path):
    me = part(path)
    if me == "__init__":
        assert not imported(path)
        return
    assert me in ALLOWED, f"`{me}` is not in the import table: add it to the design and to this test"
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("replication.")} - {"__version__"}
    extra = ours - ALLOWED[me] - FREE - {me}
    assert not extra, f"{path.name} imports {sorted(extra)}, which the table does not allow for `{me}`"


@pytest.mark.parametrize("name", ["records", "errors"])
def test_records_and_errors_need_the_standard_library_only(name):
    for module in imported(PACKAGE / f"{name}.py"):
        assert module.split(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_inside_functions(path):
    tree = ast.parse(path.read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & HEAVY


def test_analysis_half_works_without_the_packages_of_the_collect_half():
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(HEAVY)}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import replication.paper, replication.stats, replication.verdicts, replication.store, replication.run, replication.train
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


@pytest.mark.parametrize("entry", ["run", "train", "paper", "plan"])
def test_help_imports_nothing_slow(entry):
    code = f"""
import runpy, sys
sys.argv = ["replication.{entry}", "--help"]
try:
    runpy.run_module("replication.{entry}", run_name="__main__")
except SystemExit:
    pass
slow = {{"torch", "vllm", "transformers", "pandas", "scipy", "matplotlib", "wandb", "numpy"}} & set(sys.modules)
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent,
                          env=os.environ | {"HYDRA_FULL_ERROR": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "study" in done.stdout
