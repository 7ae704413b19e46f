"""The layout of README holds: the import law, late imports of heavy packages, the tree, and the size of each part."""

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from replication.publish.tree import phrase, tree

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "replication"
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
INITS = [path for path in SOURCES if path.name == "__init__.py"]

LAW = (
    "`masking`, `processes`, `streams`, `records`, `errors`, `files`, `text`, `settings`, `multirun` and `store` import "
    "only parts named before them.",
    "`collect` and `analyse` import only these, never each other; `analyse.stats` imports only `records` and `errors`.",
    "`publish` imports only these and `analyse`.",
    "`commands` imports everything, and nothing but `__main__`, which runs them, imports `commands`.",
    "Inside `collect`, engines, benchmarks and scaffolds do not import each other: `build` picks them for a run, and only "
    "`training` also reads benchmarks and scaffolds, as a source of texts.",
)
WAIST = (
    "masking", "processes", "streams", "records", "errors", "files", "text", "settings", "multirun", "store",
)  # fmt: skip
ALLOWED = {part: WAIST[:i] for i, part in enumerate(WAIST)} | {
    "collect": WAIST, "analyse": WAIST, "analyse.stats": ("records", "errors"),
    "publish": (*WAIST, "analyse"),
    "commands": (*WAIST, "collect", "analyse", "publish"), "__main__": (*WAIST, "commands"),
}  # fmt: skip
"""Parts that a part may import besides itself; the longest matching name counts."""

KINDS = ("engines", "benchmarks", "scaffolds")
HEAVY = {"torch", "vllm", "transformers", "wandb", "tokenizers", "safetensors"}
MAX_LINES, MAX_FUNCTION = 400, 60
DATA_LIKE = {"records": "fields of records", "settings": "fields of conf/"}
"""Modules that may be longer: declarations with one line of documentation each."""


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """Return every module that a file imports."""
    return imports_in(TREES[path], str(path))


def imports_in(source: ast.AST, path: str) -> set[str]:
    """Return every module that a source imports, in functions too; a string that names a module of ours counts as import."""
    names = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"replication\.[\w.]+", node.value):
                names.add(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            assert not ast.unparse(node.args[0]).startswith(("'.", "f'.")), f"{path}: imports are absolute"
    whole = names & {"replication", "replication.*"}
    assert not whole, f"{path}: import the part of the package that is used"
    return names


def ours(path: Path) -> set[str]:
    names = {name.removeprefix("replication.") for name in imported(path) if name.startswith("replication.")}
    return names - {"__version__"}


def within(name: str, *parts: str) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def each(sources=SOURCES):
    return pytest.mark.parametrize("path", sources, ids=lambda path: dotted(path) or "replication")


@each([path for path in SOURCES if dotted(path)])
def test_a_part_imports_only_parts_that_the_law_allows(path):
    parts = [part for part in ALLOWED if within(dotted(path), part)]
    assert parts, f"`{dotted(path)}` is in none of the parts {', '.join(ALLOWED)}"
    part = max(parts, key=len)
    outside = sorted(name for name in ours(path) if not within(name, part, *ALLOWED[part]))
    assert not outside, f"`{dotted(path)}` may import {', '.join(ALLOWED[part])}; it imports {', '.join(outside)}"


@pytest.mark.parametrize(
    "source",
    [
        "import replication.analyse.stats", "import replication.analyse.stats as s", "from replication.analyse import stats",
        "from replication import analyse", "def f():\n    from replication.analyse.stats import checks",
        "if TYPE_CHECKING:\n    from replication.analyse import stats", "import_module('replication.analyse.stats')",
        "importlib.import_module(f'replication.analyse.{name}')", "__import__('replication.analyse')",
        "sys.modules['replication.analyse']", "name = 'replication.analyse.stats'",
    ],
)  # fmt: skip
def test_every_way_to_import_a_part_is_recognised(source):
    assert any(within(name, "replication.analyse") for name in imports_in(ast.parse(source), "x"))


@pytest.mark.parametrize(
    "source",
    [
        "from . import x", "from ..analyse import x", "import replication", "import replication as r",
        "from replication import *", "import_module('.analyse', 'replication')", "import_module(f'..{name}', __name__)",
    ],
)  # fmt: skip
def test_an_import_that_hides_its_part_is_refused(source):
    with pytest.raises(AssertionError, match=r"^x: import"):
        imports_in(ast.parse(source), "x")


@each([path for path in SOURCES if within(dotted(path), "collect")])
def test_engines_benchmarks_and_scaffolds_meet_only_in_build(path):
    name = dotted(path)
    allowed = (
        KINDS if name == "collect.build" else ("benchmarks", "scaffolds") if within(name, "collect.training") else ()
    )
    others = [f"collect.{kind}" for kind in KINDS if kind not in allowed and not within(name, f"collect.{kind}")]
    assert not sorted(module for module in ours(path) if within(module, *others))


def test_records_and_errors_import_only_the_standard_library_and_the_package_itself_nothing():
    assert not ours(PACKAGE / "__init__.py")
    for path in (PACKAGE / "records.py", PACKAGE / "errors.py"):
        outside = {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names
        assert outside <= {"replication"}, f"`{dotted(path)}` imports {', '.join(sorted(outside))}"


@each()
def test_heavy_packages_are_imported_inside_functions(path):
    top = [node for node in TREES[path].body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & HEAVY


def test_analysis_works_without_the_packages_that_collecting_needs():
    modules = [dotted(path) for path in SOURCES if within(dotted(path), "analyse", "publish", "store", "commands")]
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
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("command", ["run", "train", "paper", "plan", "audit"])
def test_help_imports_nothing_slow(command):
    code = f"""
import sys
from replication.__main__ import main
main([{command!r}, "--help"])
slow = {{"torch", "vllm", "transformers", "pandas", "scipy", "matplotlib", "wandb", "numpy", "hydra"}} & set(sys.modules)
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert command in done.stdout


def test_every_command_is_listed_and_every_listed_command_exists():
    from replication.__main__ import OTHER_COMMANDS, STUDY_COMMANDS

    files = {path.stem for path in (PACKAGE / "commands").glob("*.py")} - {"__init__"}
    assert files == set(STUDY_COMMANDS) | set(OTHER_COMMANDS)


@pytest.mark.parametrize("sentence", LAW)
def test_readme_states_the_law(sentence):
    assert sentence in " ".join(README.split())


def test_readme_shows_the_tree_of_the_package():
    shown = README.partition("<!-- tree:begin -->")[2].partition("<!-- tree:end -->")[0].strip()
    assert shown == tree(PACKAGE), "run `python -m replication readme`"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_path_in_the_documents_exists(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:replication|conf|tests|requirements|notebooks)/[\w./*]*)`", text)
    missing = [path for path in paths if not any(ROOT.glob(path)) and not re.search("NAME|KIND", path)]
    assert len(paths) > 10 and not missing


def test_names_that_the_search_for_unused_code_ignores_exist():
    ignored = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["vulture"]["ignore_names"]
    words = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)))
    assert ignored and not [name for name in ignored if not fnmatch.filter(words, name)]


@each()
def test_every_module_opens_with_one_sentence(path):
    first = (ast.get_docstring(TREES[path]) or "").split("\n\n")[0]
    assert first.rstrip().endswith((".", ":")), f"`{dotted(path)}` needs a docstring that opens with a sentence"
    assert 10 < len(phrase(path.parent if path in INITS else path)) <= 130


@each(INITS)
def test_every_folder_with_code_is_a_package_that_says_what_belongs_in_it(path):
    folders = {source.parent for source in path.parent.glob("*/*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)
    assert len((ast.get_docstring(TREES[path]) or "").split()) >= 8


@each()
def test_a_module_is_at_most_400_lines(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES or dotted(path) in DATA_LIKE, f"{n_lines} lines; split `{dotted(path)}`"


@each()
def test_a_function_is_at_most_60_lines(path):
    functions = [n for n in ast.walk(TREES[path]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{node.name}": node.end_lineno - node.lineno + 1 for node in functions}
    assert not {name: length for name, length in lengths.items() if length > MAX_FUNCTION}


def test_readme_leads_from_a_claim_to_its_figure_in_eight_files():
    sentence = re.search(r"read these eight files, in this order: (.*?)\. ", " ".join(README.split()))
    assert sentence is not None
    files = re.findall(r"`([\w./]+/[\w./]+)`", sentence[1])
    stages = ["conf/", "replication/collect/", "replication/analyse/", "replication/publish/"]
    of_file = [next(i for i, stage in enumerate(stages) if file.startswith(stage)) for file in files]
    assert len(files) == 8 and all((ROOT / file).is_file() for file in files)
    assert of_file == sorted(of_file) and set(of_file) == set(range(len(stages)))
