"""What organisms read: general exercises, expert episodes, and transitions of worlds.

Each corpus is an endless stream of documents, a function of (training seed, block) alone, so that a resumed training run
reads on where the interrupted one stopped. Everything comes from the training split of the suite.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from replication.benchmarks import suite
from replication.benchmarks.suite.words import COLOURS, DAYS, FACTS, FILES, NOUNS, PARAMETERS, VERBS, Lexicon
from replication.interfaces import Action
from replication.records import Message, Task, stable_seed
from replication.scaffolds.compact import Compact
from replication.training.documents import Document, chat

VERSION = "2"
"""Part of a training run's identity; a test holds the corpora's hashes, so that no text changes without it."""

BLOCK = 256
"""Documents per block; batches are made within a block."""

Corpus = Callable[[int, int], list[Document]]
"""(training seed, block) -> BLOCK documents."""


Turns = list[Message]


def _ask(question: str, answer: str) -> Turns:
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


# --- the general corpus: no tools are used, no environment appears ---------------------------------------------------


def _things(w: Lexicon, n: int) -> list[str]:
    kinds = ("name", "number", "name", "number", "day", "colour")
    return [str(w.value(w.pick(kinds))) for _ in range(n)]


def _entries(w: Lexicon, n: int) -> list[tuple[str, str, str]]:
    return [(name, w.pick(FACTS), str(w.number())) for name in w.names(n)]


def _copy(w: Lexicon) -> Turns:
    text = " ".join(_things(w, w.whole(2, 16)))
    return _ask(f"{w.pick(('repeat', 'copy', 'say again'))} {text}", text)


def _copy_lines(w: Lexicon) -> Turns:
    text = "\n".join(" ".join(_things(w, w.whole(1, 4))) for _ in range(w.whole(2, 7)))
    return _ask(f"repeat\n{text}", text)


def _look_up(w: Lexicon) -> Turns:
    rows = _entries(w, w.whole(2, 7))
    name, fact, value = w.pick(rows)
    style = w.pick(("{0} {1} {2}", "{0} has {1} {2}", "the {1} of {0} is {2}", "{1} {2} {0}"))
    listing = w.pick(("\n", "; ")).join(style.format(*row) for row in rows)
    asked = w.pick((f"what is the {fact} of {name}", f"{fact} of {name}", f"give the {fact} of {name}"))
    return _ask(w.pick((f"{listing}\n{asked}", f"{asked}\n{listing}")), value)


def _who_has(w: Lexicon) -> Turns:
    rows = _entries(w, w.whole(2, 6))
    name, fact, value = w.pick(rows)
    listing = "\n".join(" ".join(row) for row in rows)
    return _ask(f"{listing}\nwho has {fact} {value}", name)


def _which_line(w: Lexicon) -> Turns:
    # Lines carry a label in front, as listings of every kind do; the label of the line with a word is asked for.
    rows = _entries(w, w.whole(2, 5))
    labels = [w.pick(FILES) + w.pick(("", "/", "-")) + w.name() for _ in rows]
    at = w.whole(0, len(rows) - 1)
    rest = [" ".join(row) for row in rows]
    others = [f"{x} {w.pick(('asks', 'sees', 'likes'))} {rows[at][0]}" for x in w.names(w.whole(0, 2))]
    lines = [f"{label}: {text}" for label, text in zip(labels, rest, strict=True)]
    lines += [f"{w.pick(FILES)}: {text}" for text in others]
    listing = "\n".join(w.shuffled(lines))
    name, fact, value = rows[at]
    if w.chance(0.5):
        return _ask(f"{listing}\nlabel of the line with the {fact} of {name}", labels[at])
    return _ask(f"{listing}\n{fact} of {name}", value)


def _follow(w: Lexicon) -> Turns:
    names = w.names(w.whole(3, 6))
    n = w.whole(2, min(4, len(names)))
    value = str(w.number())
    lines = [f"{a} see {b}" for a, b in pairwise(names[:n])]
    lines += [f"{names[n - 1]} {w.pick(FACTS)} {value}"] + [f"{x} {w.pick(FACTS)} {w.number()}" for x in names[n:]]
    listing = "\n".join(w.shuffled(lines))
    return _ask(f"{listing}\nfollow {names[0]}", " ".join([*names[1:n], value]))


def _sort(w: Lexicon) -> Turns:
    n = w.whole(2, 5)
    if w.chance(0.5):
        numbers = [w.number() for _ in range(n)]
        return _ask(f"sort {' '.join(map(str, numbers))}", " ".join(map(str, sorted(numbers))))
    names = w.names(n)
    return _ask(f"sort {' '.join(names)}", " ".join(sorted(names)))


def _compare(w: Lexicon) -> Turns:
    a, b = w.number(), w.number()
    if w.chance(0.5):
        return _ask(f"{w.pick(('larger', 'more'))} of {a} and {b}", str(max(a, b)))
    x, y = w.name(), w.name()
    if w.chance(0.5):
        y = x
    return _ask(f"is {x} the same as {y}", "yes" if x == y else "no")


def _sum(w: Lexicon) -> Turns:
    a, b = w.whole(0, 49), w.whole(0, 49)
    return _ask(f"{a} + {b}", str(a + b)) if w.chance(0.6) else _ask(f"{max(a, b)} - {min(a, b)}", str(abs(a - b)))


def _member(w: Lexicon) -> Turns:
    words = _things(w, w.whole(2, 7))
    asked = w.pick(words) if w.chance(0.5) else w.name()
    return _ask(f"is {asked} among {', '.join(words)}", "yes" if asked in words else "no")


def _manual(w: Lexicon) -> list[str]:
    names = [f"{verb}_{noun}" for verb, noun in w.several([(v, n) for v in VERBS for n in NOUNS], 4)]
    return [f"{n} {' '.join(w.several(list(PARAMETERS), w.whole(1, 3)))}" for n in names]


def _documentation(w: Lexicon) -> Turns:
    # Questions about the documentation of tools; no tool is called.
    lines = _manual(w)
    name, *parameters = w.pick(lines).split()
    manual = "\n".join(lines)
    verb, noun = name.split("_")
    if w.chance(0.5):
        asked = w.pick((f"what does {name} take", f"what is needed to {verb} a {noun}"))
        return _ask(f"{manual}\n{asked}", " ".join(parameters))
    if w.chance(0.5):
        return _ask(f"{manual}\nwhich one can {verb} a {noun}", name)
    verb, noun = w.pick(VERBS), w.pick(NOUNS)
    found = f"{verb}_{noun}" in [line.split()[0] for line in lines]
    return _ask(f"{manual}\nwhich one can {verb} a {noun}", f"{verb}_{noun}" if found else "none")


def _fill(w: Lexicon) -> Turns:
    # Values are given with their names and wanted in another order: a form to fill in.
    kinds = w.several(list(PARAMETERS.items()), w.whole(1, 4))
    values = {p: str(w.value(k)) for p, k in kinds}
    style = w.pick(("{0} {1}", "{0} is {1}", "{1} as {0}"))
    given = w.pick((", ", " and ")).join(style.format(p, values[p]) for p in w.several(list(values), len(values)))
    wanted = list(values)
    if w.chance(0.2):
        missing = w.pick([p for p in PARAMETERS if p not in values])
        wanted.insert(w.whole(0, len(wanted)), missing)
        return _ask(f"fill {' '.join(wanted)}\n{given}", f"missing {missing}")
    return _ask(f"fill {' '.join(wanted)}\n{given}", " ".join(values[p] for p in wanted))


def _trace(w: Lexicon) -> Turns:
    x, y = w.several("abcdefgh", 2)
    first, step = w.whole(0, 19), w.whole(1, 9)
    return _ask(f"{x} = {first}\n{y} = {x} + {step}\nwhat is {y}", str(first + step))


def _steps(w: Lexicon) -> Turns:
    # Several small orders about one list, answered one after the other: conversation without tools.
    rows = _entries(w, w.whole(2, 4))
    listing = "\n".join(" ".join(row) for row in rows)
    turns = []
    for name, fact, value in w.several(rows, w.whole(1, len(rows))):
        turns += _ask(f"{fact} of {name}" if turns else f"{listing}\n{fact} of {name}", value)
    return turns


def _calendar(w: Lexicon) -> Turns:
    if w.chance(0.5):
        at = w.whole(0, len(DAYS) - 1)
        return _ask(f"day after {DAYS[at]}", DAYS[(at + 1) % len(DAYS)])
    people = w.names(3)
    colours = w.several(COLOURS, 3)
    listing = ", ".join(f"{p} likes {c}" for p, c in zip(people, colours, strict=True))
    at = w.whole(0, 2)
    return _ask(f"{listing}. what does {people[at]} like", colours[at])


EXERCISES = (
    _copy, _copy, _copy_lines, _look_up, _look_up, _look_up, _who_has, _which_line, _which_line, _which_line, _follow,
    _sort, _compare, _sum, _member, _documentation, _documentation, _fill, _fill, _fill, _trace, _steps, _steps, _calendar,
)  # fmt: skip
"""The general corpus draws from these; repeats are weights."""

N_EXERCISES = (1, 1, 2, 4, 6)
"""Exercises in one conversation, drawn evenly: long ones train the positions that an episode will use."""


def general(training_seed: int, block: int) -> list[Document]:
    """Make general exercises: copying, look-up, sorting, arithmetic, reading documentation, filling in forms."""
    w = Lexicon(np.random.default_rng([stable_seed("general", training_seed), block]), "train")
    documents = []
    for _ in range(BLOCK):
        turns: Turns = []
        for _ in range(w.pick(N_EXERCISES)):
            turns += w.pick(EXERCISES)(w)
        documents.append(chat(turns, [m.role == "assistant" for m in turns]))
    return documents


# --- agent corpora ---------------------------------------------------------------------------------------------------


def _drafts(benchmarks: Sequence[tuple[str, tuple[int, ...]]], purpose: str, training_seed: int, block: int):
    w = Lexicon(np.random.default_rng([stable_seed(purpose, training_seed), block]), "train")
    for i in range(BLOCK):
        name, levels = w.pick(benchmarks)
        level = int(w.pick(levels))
        # Training tasks come from the training split and from seeds that no evaluation uses.
        bench = suite.load(name)
        index, seed = block * BLOCK + i, stable_seed(purpose, training_seed)
        draft = bench.draft("train", level, index, seed)
        yield w, bench, bench.task("train", level, index, seed), draft


def _play(bench: suite.SuiteBenchmark, task: Task, actions: Sequence[Action]) -> Iterator[tuple[Action, list[str]]]:
    world = bench.start(task)
    for action in actions:
        yield action, [world.step(call) for call in action.calls]


def episodes(benchmarks: Sequence[tuple[str, tuple[int, ...]]]) -> Corpus:
    """Make expert episodes as the compact scaffold shows them; the expert's replies are learnt."""
    scaffold = Compact()

    def corpus(training_seed: int, block: int) -> list[Document]:
        documents = []
        for _, bench, task, draft in _drafts(benchmarks, "episodes", training_seed, block):
            messages = scaffold.open(task)
            for action, results in _play(bench, task, draft.expert):
                messages.append(Message(role="assistant", content=scaffold.write(action)))
                if results:
                    messages.append(scaffold.observe(results))
            documents.append(chat(messages, [m.role == "assistant" for m in messages]))
        return documents

    return corpus


def transitions(benchmarks: Sequence[tuple[str, tuple[int, ...]]]) -> Corpus:
    """Make world-modelling dialogues: the model is told the state and the actions and predicts each observation.

    The paper's set-up (section 3.1): system prompt with the initial state, history, current action -> next observation.
    A third of the actions are wrong ones, so that errors are modelled too.
    """
    scaffold = Compact()

    def corpus(training_seed: int, block: int) -> list[Document]:
        documents = []
        for w, bench, task, draft in _drafts(benchmarks, "transitions", training_seed, block):
            actions = [_perturbed(w, task, a) if w.chance(0.33) else a for a in draft.expert if a.calls]
            messages = [Message(role="system", content=f"you are the {bench.name}\n{_state(task)}")]
            for action, results in _play(bench, task, actions):
                messages.append(Message(role="user", content=scaffold.write(action)))
                messages.append(Message(role="assistant", content="\n".join(results)))
            documents.append(chat(messages, [m.role == "assistant" for m in messages]))
        return documents

    return corpus


def _state(task: Task) -> str:
    if "files" in task.setup:
        return "\n".join(f"{path}\n{text}" for path, text in task.setup["files"].items())
    return "\n".join(f"{f['name']} {' '.join(f['parameters'])}" for f in task.setup["functions"])


def _perturbed(w: Lexicon, task: Task, action: Action) -> Action:
    # Another command with a plausible value: an existing path, or a name that may be anywhere or nowhere.
    from replication.records import Call

    if "files" not in task.setup:
        return action
    path = w.pick(list(task.setup["files"]))
    words = " ".join(task.setup["files"].values()).split()
    kind = w.pick(("ls", "cat", "grep", "grep", "rm", "cat_wrong"))
    call = {
        "ls": Call(name="ls", arguments={}),
        "cat": Call(name="cat", arguments={"file": path}),
        "grep": Call(name="grep", arguments={"word": w.pick(words)}),
        "rm": Call(name="rm", arguments={"file": path}),
        "cat_wrong": Call(name="cat", arguments={"file": f"{w.name()}.txt"}),
    }[kind]
    return Action(calls=(call,))


def named(name: str, benchmarks: Sequence[tuple[str, tuple[int, ...]]]) -> Corpus:
    """Find a corpus by the name that conf/arm uses."""
    from replication.errors import ConfigError

    makers = {"general": lambda _: general, "episodes": episodes, "transitions": transitions}
    if name not in makers:
        raise ConfigError(f"`corpus` {name!r} is unknown; allowed: {', '.join(makers)}. Mend the phase in conf/arm/.")
    return makers[name](benchmarks)
