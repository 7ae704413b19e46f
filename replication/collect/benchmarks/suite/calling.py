"""Function calls against a described interface; modelled on BFCL v4.

Kinds of request, as in BFCL: simple, parallel (independent calls), stateful (an id must be looked up first), missing
parameter, and irrelevance (no function fits). Levels grow in the number of functions on offer (2 to 12), parameters per
function (1 to 4) and requests in one task (1, 2, 3, 4, 6).
The score is binary: the state-changing calls are the requested ones, each once, and for the two kinds that call for a
refusal the first reason in the final answer is the right one. Look-ups change nothing and are free.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from replication.collect.benchmarks.suite import EnvironmentSpec, GeneratedTask, Grade
from replication.collect.benchmarks.suite.kit import Limits, Mismatch, act, by_name, mismatch, tool
from replication.collect.benchmarks.suite.words import COLOURS, DAYS, NOUNS, PARAMETERS, VERBS, Lexicon
from replication.collect.interfaces import Action
from replication.records import Call, Json, Task, Tool, canonical_json

N_FUNCTIONS = {1: 2, 2: 3, 3: 5, 4: 8, 5: 12}
N_PARAMETERS = {1: (1, 2), 2: (1, 2, 3), 3: (2, 3), 4: (2, 3, 4), 5: (3, 4)}
N_REQUESTS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6}

MAX_CALLS = 64
"""Calls that a world records; later ones are rejected, so that memory stays bounded."""
LIMITS = Limits(max_text=80, max_number=10**9 - 1, multiline=True, enums=True)

NO_TOOL = "no tool"
_REFUSAL = re.compile(r"\bmissing\b|\bno(?: \w+){0,2} tool\b")


class World:
    """Validates calls against the schemas, answers look-ups, and records changes."""

    def __init__(self, setup: Mapping[str, Json]):
        self._tools = by_name(_tools(setup["functions"]))
        self._ids: dict[str, dict[str, int]] = setup["ids"]
        self.done: list[str] = []
        """Canonical JSON of each accepted state-changing call."""

    def step(self, call: Call) -> str:
        """Run one call; errors are returned as text."""
        problem = mismatch(call, self._tools, LIMITS)
        if problem is not None:
            return f"error: {self._explain(problem, call)}"
        if call.name in self._ids:
            number = self._ids[call.name].get(call.arguments["who"])
            return "none" if number is None else f"id {number}"
        if len(self.done) >= MAX_CALLS:
            return "error: too many calls"
        self.done.append(canonical_json([call.name, call.arguments]))
        return "ok"

    def _explain(self, problem: Mismatch, call: Call) -> str:
        if problem.kind == "name":
            return f"no function {str(call.name)[:40]}"
        if problem.kind == "parameters":
            return f"takes {' '.join(self._tools[call.name].parameters['properties'])}"
        return f"bad {problem.parameter}"


_ENUMS = {"day": DAYS, "colour": COLOURS}


def _tool(name: str, kinds: Mapping[str, str]) -> Tool:
    properties: dict[str, Json] = {}
    for parameter, kind in kinds.items():
        properties[parameter] = {"type": "integer" if kind == "number" else "string"}
        if kind in _ENUMS:
            properties[parameter]["enum"] = list(_ENUMS[kind])
    verb, _, noun = name.partition("_")
    return tool(name, f"{verb.capitalize()} a {noun}.", **properties)


def _tools(functions: Sequence[Mapping[str, Json]]) -> tuple[Tool, ...]:
    return tuple(_tool(function["name"], function["parameters"]) for function in functions)


def generate(lexicon: Lexicon, level: int) -> GeneratedTask:
    """Generate functions, requests for some of them, and the expert's calls."""
    pairs = lexicon.sample([(verb, noun) for verb in VERBS for noun in NOUNS], N_FUNCTIONS[level] + 1)
    functions = {f"{verb}_{noun}": _parameters(lexicon, level) for verb, noun in pairs[:-1]}
    absent = f"{pairs[-1][0]} a {pairs[-1][1]}"
    ids: dict[str, dict[str, int]] = {}
    kind = lexicon.choice(("simple", "simple", "parallel", "stateful", "missing", "irrelevant"))
    names = lexicon.sample(list(functions), min(N_REQUESTS[level] + (kind == "parallel"), len(functions)))
    sentences: list[str] = []
    expert: list[Action] = []
    requested: list[Call] = []
    answer = "done"
    if kind == "stateful":
        finder = f"find_{lexicon.choice(NOUNS)}"
        changer = f"cancel_{finder.removeprefix('find_')}"
        functions = {finder: {"who": "name"}, changer: {"id": "number"}, **functions}
        people = lexicon.names(3)
        ids[finder] = {who: 10 + lexicon.number() for who in people}
        sentences.append(f"cancel the {finder.removeprefix('find_')} of {people[0]}")
        expert += [act(finder, who=people[0]), act(changer, id=ids[finder][people[0]])]
        requested += expert[-1].calls
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
    requested += calls
    if kind == "parallel" and calls:
        expert.append(Action(calls=tuple(calls)))
    else:
        expert += [Action(calls=(call,)) for call in calls]
    offered = [{"name": name, "parameters": functions[name]} for name in lexicon.shuffled(list(functions))]
    return GeneratedTask(
        # The asker's name belongs to this split, or a request of numbers and days only could be in two splits.
        prompt=f"{lexicon.name()} asks: {lexicon.choice(('; ', ', and ')).join(sentences)}",
        tools=_tools(offered), setup={"functions": offered, "ids": ids},
        key={"calls": [canonical_json([c.name, c.arguments]) for c in requested], "answer": answer},
        expert=(*expert, Action(answer=answer)),
        tags=("tool_use", *(("multi_step", "memory") if len(expert) > 1 else ())),
    )  # fmt: skip


def grade(task: Task, key: Mapping[str, Json], world: World, answer: str | None) -> Grade:
    """Score 1 if the changes are the requested ones and a refusal names its reason, else 0."""
    right_calls = Counter(world.done) == Counter(key["calls"])
    right_answer = key["answer"] == "done" or _reason(answer or "") == key["answer"]
    return Grade(
        value=float(right_calls and right_answer), details={"right_calls": right_calls, "right_answer": right_answer}
    )


def _reason(answer: str) -> str | None:
    # The first one counts, or an answer that lists all reasons would be right everywhere.
    text = answer[:2_000].lower()
    match = _REFUSAL.search(text)
    if not match:
        return None
    if match[0] != "missing":
        return NO_TOOL
    words = re.findall(r"[a-z]+", f"{text[match.end() :]} {text[: match.start()]}")
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
    """Write the functions with their parameters, and the results of all look-ups."""
    functions = [f"{f['name']} {' '.join(f['parameters'])}" for f in setup["functions"]]
    ids = [f"{finder} {who} id {number}" for finder, ids in setup["ids"].items() for who, number in ids.items()]
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
        wrong = Call(name=call.name, arguments={**call.arguments, parameter: value})
    return Action(calls=tuple(wrong if one is call else one for one in action.calls))


ENVIRONMENT = EnvironmentSpec(
    name="calling", version="3", domain="out", modelled_on="BFCL v4",
    metric="binary: the calls are the requested ones", about=__doc__, generate=generate, world=World, grade=grade,
    describe=describe, perturb=perturb,
)  # fmt: skip
