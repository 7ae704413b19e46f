"""Function calls against a described interface; stands beside BFCL v4.

Kinds of request, as in BFCL: simple, parallel (independent calls), stateful (an id must be looked up first), missing
parameter, and irrelevance (no function fits). Levels grow in the number of functions on offer (2 to 12), parameters per
function (1 to 4) and requests in one task (1, 2, 3, 4, 6).
The score is binary: the state-changing calls are the wanted ones, each once, and for the two refusing kinds the first
reason that the final answer names is the right one. Look-ups change nothing and are free.
"""

import re
from collections import Counter
from collections.abc import Mapping

from replication.collect.benchmarks.suite import GeneratedTask, Grade
from replication.collect.benchmarks.suite.kit import act, tool
from replication.collect.benchmarks.suite.words import COLOURS, DAYS, NOUNS, PARAMETERS, VERBS, Lexicon
from replication.collect.interfaces import Action
from replication.records import Call, Json, Task, Tool, canonical_json

NAME = "calling"
VERSION = "3"
DOMAIN = "out"

N_FUNCTIONS = {1: 2, 2: 3, 3: 5, 4: 8, 5: 12}
N_PARAMETERS = {1: (1, 2), 2: (1, 2, 3), 3: (2, 3), 4: (2, 3, 4), 5: (3, 4)}
N_REQUESTS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6}

MAX_CALLS = 64
"""Calls that a world remembers; later ones are refused, so that memory stays bounded."""

NO_TOOL = "no tool"
_REFUSAL = re.compile(r"\bmissing\b|\bno(?: \w+){0,2} tool\b")


class World:
    """Checks calls against the schemas, answers look-ups, and remembers what was changed."""

    def __init__(self, setup: Mapping[str, Json]):
        self._schemas = {f["name"]: f["parameters"] for f in setup["functions"]}
        self._ids: dict[str, dict[str, int]] = setup["ids"]
        self.done: list[str] = []
        """Canonical JSON of each accepted state-changing call."""

    def step(self, call: Call) -> str:
        """Run one call; whatever is wrong with it is said in the returned line."""
        if call.name not in self._schemas:
            return f"error: no function {call.name[:40]}"
        problem = _mismatch(self._schemas[call.name], call.arguments)
        if problem:
            return f"error: {problem}"
        if call.name in self._ids:
            found = self._ids[call.name].get(call.arguments["who"])
            return "none" if found is None else f"id {found}"
        if len(self.done) >= MAX_CALLS:
            return "error: too many calls"
        self.done.append(canonical_json([call.name, call.arguments]))
        return "ok"


def _mismatch(kinds: Mapping[str, str], arguments: Mapping[str, Json]) -> str | None:
    if set(arguments) != set(kinds):
        return f"takes {' '.join(kinds)}"
    for name, kind in kinds.items():
        value = arguments[name]
        if kind == "number":
            fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9
        else:
            fits = isinstance(value, str) and len(value) <= 80
        if kind in _ENUMS:
            fits = fits and value in _ENUMS[kind]
        if not fits:
            return f"bad {name}"
    return None


_ENUMS = {"day": DAYS, "colour": COLOURS}


def _tool(name: str, kinds: Mapping[str, str]) -> Tool:
    properties: dict[str, Json] = {}
    for parameter, kind in kinds.items():
        properties[parameter] = {"type": "integer" if kind == "number" else "string"}
        if kind in _ENUMS:
            properties[parameter]["enum"] = list(_ENUMS[kind])
    verb, _, noun = name.partition("_")
    return tool(name, f"{verb.capitalize()} a {noun}.", **properties)


def draft(lexicon: Lexicon, level: int) -> GeneratedTask:
    """Make functions, requests for some of them, and the expert's calls."""
    pairs = lexicon.sample([(verb, noun) for verb in VERBS for noun in NOUNS], N_FUNCTIONS[level] + 1)
    functions = {f"{verb}_{noun}": _parameters(lexicon, level) for verb, noun in pairs[:-1]}
    absent = f"{pairs[-1][0]} a {pairs[-1][1]}"
    ids: dict[str, dict[str, int]] = {}
    kind = lexicon.choice(("simple", "simple", "parallel", "stateful", "missing", "irrelevant"))
    names = lexicon.sample(list(functions), min(N_REQUESTS[level] + (kind == "parallel"), len(functions)))
    sentences, expert, wanted, answer = [], [], [], "done"
    if kind == "stateful":
        finder = f"find_{lexicon.choice(NOUNS)}"
        changer = f"cancel_{finder.removeprefix('find_')}"
        functions = {finder: {"who": "name"}, changer: {"id": "number"}, **functions}
        people = lexicon.names(3)
        ids[finder] = {who: 10 + lexicon.number() for who in people}
        sentences.append(f"cancel the {finder.removeprefix('find_')} of {people[0]}")
        expert += [act(finder, who=people[0]), act(changer, id=ids[finder][people[0]])]
        wanted += expert[-1].calls
        names = names[: N_REQUESTS[level] - 1]
    calls = []
    for i, name in enumerate(names):
        values = {p: lexicon.value(k) for p, k in functions[name].items()}
        left_out = None
        if kind == "missing" and i == len(names) - 1:
            left_out = lexicon.choice(list(values))
            answer = f"missing {left_out}"
        sentences.append(_request(lexicon, name, {p: v for p, v in values.items() if p != left_out}))
        if left_out is None:
            calls.append(Call(name=name, arguments=values))
    if kind == "irrelevant":
        sentences[-1:] = [f"{absent} for {lexicon.name()}"]
        calls, answer = calls[:-1], NO_TOOL
    wanted += calls
    if kind == "parallel" and calls:
        expert.append(Action(calls=tuple(calls)))
    else:
        expert += [Action(calls=(call,)) for call in calls]
    order = lexicon.shuffled(list(functions))
    return GeneratedTask(
        # Whoever asks has a name of this split, or a request of numbers and days only could stand in two splits.
        prompt=f"{lexicon.name()} asks: {lexicon.choice(('; ', ', and ')).join(sentences)}",
        tools=tuple(_tool(name, functions[name]) for name in order),
        setup={"functions": [{"name": name, "parameters": functions[name]} for name in order], "ids": ids},
        key={"calls": [canonical_json([c.name, c.arguments]) for c in wanted], "answer": answer},
        expert=(*expert, Action(answer=answer)),
        tags=("tool_use", *(("multi_step", "memory") if len(expert) > 1 else ())),
    )  # fmt: skip


def grade(task: Task, key: Mapping[str, Json], world: World, answer: str | None) -> Grade:
    """Score 1 if the changes are the wanted ones and a refusal names its reason, else 0."""
    right_calls = Counter(world.done) == Counter(key["calls"])
    right_answer = key["answer"] == "done" or _reason(answer or "") == key["answer"]
    return Grade(
        value=float(right_calls and right_answer), details={"right_calls": right_calls, "right_answer": right_answer}
    )


def _reason(answer: str) -> str | None:
    # The first one counts, or an answer that lists all reasons would be right everywhere.
    text = answer[:2_000].lower()
    found = _REFUSAL.search(text)
    if not found:
        return None
    if found[0] != "missing":
        return NO_TOOL
    words = re.findall(r"[a-z]+", f"{text[found.end() :]} {text[: found.start()]}")
    return next((f"missing {word}" for word in words if word in PARAMETERS), None)


def _parameters(lexicon: Lexicon, level: int) -> dict[str, str]:
    chosen = lexicon.sample(list(PARAMETERS), lexicon.choice(N_PARAMETERS[level]))
    return {name: PARAMETERS[name] for name in chosen}


def _request(lexicon: Lexicon, function: str, values: Mapping[str, Json]) -> str:
    verb, _, noun = function.partition("_")
    parts = lexicon.shuffled(list(values.items()))
    if not parts:
        return f"{verb} a {noun}"
    style = lexicon.choice(("{0} {1}", "{0} is {1}", "{1} as {0}"))
    listed = lexicon.choice((", ", " and ")).join(style.format(p, v) for p, v in parts)
    return lexicon.choice((f"{verb} a {noun} with {listed}", f"please {verb} a {noun}, {listed}"))


def describe(setup: Mapping[str, Json]) -> str:
    """Write out the functions with their parameters, and what look-ups know."""
    functions = [f"{f['name']} {' '.join(f['parameters'])}" for f in setup["functions"]]
    ids = [f"{finder} {who} id {found}" for finder, known in setup["ids"].items() for who, found in known.items()]
    return "\n".join((*functions, *ids))


def perturb(lexicon: Lexicon, task: Task, action: Action) -> Action:
    """Call another function, give one parameter another value, or answer with another reason."""
    if not action.calls:
        return Action(answer=lexicon.choice([a for a in ("done", NO_TOOL, "missing day") if a != action.answer]))
    functions = {f["name"]: f["parameters"] for f in task.setup["functions"]}
    call = lexicon.choice(action.calls)
    if lexicon.bernoulli(0.3):
        name = lexicon.choice([name for name in functions if name != call.name])
        wrong = Call(name=name, arguments={p: lexicon.value(k) for p, k in functions[name].items()})
    else:
        parameter = lexicon.choice(list(call.arguments))
        while (value := lexicon.value(functions[call.name][parameter])) == call.arguments[parameter]:
            pass
        wrong = Call(name=call.name, arguments=call.arguments | {parameter: value})
    return Action(calls=tuple(wrong if one is call else one for one in action.calls))
