"""Randomness enters as `rng: np.random.Generator`: no global state, no module `random`, no generator without a seed."""

import ast
import inspect
import pkgutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import replication.analyse.stats

PACKAGE = Path(replication.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

TYPES = {"Generator", "SeedSequence", "BitGenerator", "PCG64", "SFC64", "Philox"}
"""Names of numpy.random that hold no global state."""

TORCH_SEED = {"collect/training/organism.py": {"torch.manual_seed"}}
"""Calls that set torch's global generator. The initial weights of a network are drawn by torch's initialisers, which take
no generator; the seed is that of the training run, and the call is inside `torch.random.fork_rng`."""

SEEDED = ("default_rng", "SeedSequence", "PCG64", "SFC64", "Philox")
"""Constructors that draw a seed from the operating system when they are called without one."""


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    """The full name of an attribute or name, with import aliases resolved."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def violations(source: str, allowed: frozenset[str] | set[str] = frozenset(), *, in_stats: bool = False) -> list[str]:
    """Uses of global randomness in a module, each as `line: reason`."""
    tree, names, found = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                if alias.name.partition(".")[0] == "random":
                    found.append(f"{node.lineno}: import of `random`")
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            if node.module.partition(".")[0] == "random":
                found.append(f"{node.lineno}: import of `random`")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = dotted(node, names)
            head, _, last = name.rpartition(".")
            if head == "numpy.random" and last not in TYPES | {"default_rng"}:
                found.append(f"{node.lineno}: global state, `{name}`")
        if isinstance(node, ast.Call):
            name = dotted(node.func, names)
            last = name.rpartition(".")[2]
            first = node.args[0] if node.args else next((k.value for k in node.keywords), None)
            unseeded = first is None or (isinstance(first, ast.Constant) and first.value is None)
            if name.startswith("numpy.random.") and last in SEEDED and unseeded:
                found.append(f"{node.lineno}: `{name}` without a seed")
            if name.startswith("torch.") and last in ("manual_seed", "seed") and name not in allowed:
                found.append(f"{node.lineno}: global state, `{name}`")
            if in_stats and last == "default_rng":
                found.append(f"{node.lineno}: generator created inside stats, take `rng`")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and in_stats:
            found += [f"{node.lineno}: default of `{name}`" for name in _with_default(node.args) & {"rng", "seed"}]
    return found


def _with_default(arguments: ast.arguments) -> set[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    late = positional[len(positional) - len(arguments.defaults) :]
    keyword = [a for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is not None]
    return {argument.arg for argument in [*late, *keyword]}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_randomness_is_never_global(path):
    relative = path.relative_to(PACKAGE).as_posix()
    source = path.read_text(encoding="utf-8")
    assert not violations(source, TORCH_SEED.get(relative, set()), in_stats=relative.startswith("analyse/stats/"))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import numpy as np\nnp.random.seed(1)", "2: global state, `numpy.random.seed`"),
        ("import numpy\nx = numpy.random.rand(3)", "2: global state, `numpy.random.rand`"),
        ("from numpy import random\nrandom.choice([1])", "2: global state, `numpy.random.choice`"),
        ("from numpy.random import normal\nnormal(3)", "2: global state, `numpy.random.normal`"),
        ("import numpy as np\nnp.random.RandomState(1)", "2: global state, `numpy.random.RandomState`"),
        ("import random", "1: import of `random`"),
        ("from random import choice", "1: import of `random`"),
        ("import numpy as np\nrng = np.random.default_rng()", "2: `numpy.random.default_rng` without a seed"),
        ("import numpy as np\nrng = np.random.default_rng(None)", "2: `numpy.random.default_rng` without a seed"),
        ("import numpy as np\nrng = np.random.default_rng(seed=None)", "2: `numpy.random.default_rng` without a seed"),
        ("from numpy.random import default_rng\ndefault_rng()", "2: `numpy.random.default_rng` without a seed"),
        ("import numpy as np\nnp.random.Generator(np.random.PCG64())", "2: `numpy.random.PCG64` without a seed"),
        ("import torch\ntorch.manual_seed(1)", "2: global state, `torch.manual_seed`"),
        ("import torch\ntorch.cuda.manual_seed(1)", "2: global state, `torch.cuda.manual_seed`"),
    ],
)
def test_each_use_of_global_randomness_is_detected(source, reason):
    assert violations(source) == [reason]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import numpy as np\nrng = np.random.default_rng(0)", "2: generator created inside stats, take `rng`"),
        ("def f(x, *, rng=None): ...", "1: default of `rng`"),
        ("def f(x, seed=0): ...", "1: default of `seed`"),
    ],
)
def test_statistics_take_a_generator_and_have_no_default_seed(source, reason):
    assert violations(source, in_stats=True) == [reason]


def test_seeded_generators_are_accepted():
    source = "import numpy as np\ndef f(rng: np.random.Generator): ...\nf(np.random.default_rng([1, 2]))"
    assert not violations(source)
    assert not violations("import torch\ntorch.Generator().manual_seed(1)")
    assert not violations("import torch\ntorch.manual_seed(1)", {"torch.manual_seed"})


def test_the_allowed_calls_exist():
    for relative, calls in TORCH_SEED.items():
        source = (PACKAGE / relative).read_text(encoding="utf-8")
        assert len(violations(source)) == len(calls), f"remove `{relative}` from TORCH_SEED"


def test_every_statistic_that_takes_a_generator_has_a_test_of_its_seed():
    takes_rng = set()
    for module in pkgutil.walk_packages(replication.analyse.stats.__path__, "replication.analyse.stats."):
        for name, function in inspect.getmembers(import_module(module.name), inspect.isfunction):
            public = function.__module__ == module.name and not name.startswith("_")
            if public and "rng" in inspect.signature(function).parameters:
                takes_rng.add(name)
    assert takes_rng == set(CASES)


X = np.random.default_rng(0).random((40, 2))


def _posterior(rng):
    from replication.analyse.stats.estimates.paired_bayes import paired_posterior_trials

    return paired_posterior_trials([0, 1, 2, 2], [1, 2, 2, 0], 2, 2, rng=rng, n_draws=200)


def _flips(rng):
    from replication.analyse.stats.estimates.randomisation import sign_flip_test

    return sign_flip_test(X[:, 0] - 0.4, rng=rng, n_flips=2000)


CASES = {
    "paired_posterior_trials": _posterior,
    "sign_flip_test": _flips,
}
"""Public statistics with `rng`, each as a call with a generator."""


@pytest.mark.parametrize("name", CASES)
def test_equal_seeds_give_equal_output_and_different_seeds_do_not(name):
    first, again, other = (np.asarray(CASES[name](np.random.default_rng(seed)), float) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
