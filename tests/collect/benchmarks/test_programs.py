"""Generated functions: those compiled from templates agree with the written files."""

import numpy as np
import pytest
from suite_checks import compiled

from replication.collect.benchmarks.suite.code import programs, repository
from replication.collect.benchmarks.suite.code.programs import LEAVES, NODES, as_text, calls, fill, program
from replication.collect.benchmarks.suite.words import Lexicon

TEMPLATES = [
    *((signature, template) for table in (LEAVES, NODES) for signature in table for template in table[signature]),
    *((signature, template) for table in repository.CALLERS.values() for signature, template in table),
    *repository.CONSTANTS,
]


def filled(w, signature, template):
    """A function of this template and what it calls."""
    name, *helpers = w.names(4)
    if (signature, template) in repository.CONSTANTS:
        return [fill(w, template, signature, name, (helpers[0], w.integer(2, 60)))]
    needs = template.helpers.split() or [
        key for key, rows in repository.CALLERS.items() if (signature, template) in rows
    ]
    return [
        fill(w, template, signature, name, helpers),
        *(fill(w, w.choice(LEAVES[s]), s, helper) for s, helper in zip(needs, helpers, strict=False)),
    ]


@pytest.mark.parametrize(("signature", "template"), TEMPLATES, ids=lambda value: getattr(value, "about", value))
def test_function_compiled_from_a_template_agrees_with_its_compiled_lines(signature, template):
    w, values = Lexicon(np.random.default_rng(0), "train"), set()
    for _ in range(3):
        functions = filled(w, signature, template)
        linked, read = program(functions), compiled({f.name: f.source for f in functions})
        for call in calls(w, functions[0], 12, ["vowel", "banana"]):
            values.add(read.run(as_text(call)))
            assert linked.call(*call) == read.run(as_text(call))
    assert len(values) > 1
    assert not any(value.startswith("error") for value in values)


def test_first_calls_are_at_and_around_the_constants_of_the_function():
    w = Lexicon(np.random.default_rng(0), "train")
    template = programs.Template("{n} from {a} to {b}", "if {n} > {a}; return {b} + 7; end; return 0")
    function = fill(w, template, "n>n", "kavo")
    a, b = function.gaps["a"], function.gaps["b"]
    numbers = [values[0] for _, values in calls(w, function, 12, [])]
    assert numbers == [a, b, 7, 0, 0, 95, a + 1, b + 1, 8, 1, a - 1, b - 1]
    assert as_text(("kavo", (-3, (1, 2), "ab"))) == 'kavo(-3, [1, 2], "ab")'
