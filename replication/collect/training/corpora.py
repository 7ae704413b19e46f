"""Training corpora: general exercises, expert episodes, and transitions of environments.

Each corpus is an endless stream of documents, a function of (training seed, block) alone, so that a resumed training run
continues where the interrupted one stopped. Everything comes from the training split of the suite.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from replication.collect.benchmarks import suite
from replication.collect.benchmarks.dialogues import dialogue, play
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.scaffolds import load
from replication.collect.scaffolds.compact import Compact
from replication.collect.training.documents import Document, chat
from replication.collect.training.exercises import conversation
from replication.errors import ConfigError
from replication.records import Message, Task, Tool, stable_seed
from replication.settings import CORPORA

VERSION = "3"
"""Part of a training run's identity; a test compares hashes of the texts, so they cannot change without a new version."""

BLOCK = 256
"""Documents per block; a batch holds documents of one block."""

Benchmarks = tuple[tuple[str, tuple[int, ...]], ...]
"""(name, levels) to draw from; a level that is listed twice is drawn twice as often."""

Corpus = Callable[[int, int], list[Document]]
"""(training seed, block) -> BLOCK documents."""


@dataclass(frozen=True)
class Prediction:
    """A single turn of world modelling: a prompt for the policy, and the true observation."""

    messages: tuple[Message, ...]
    """Ends with the action whose observation is to be predicted."""
    observation: str
    prompt: str | None = None
    """The messages in the format of a public base; None is the format of organisms."""


Predictions = Callable[[int, int], list[Prediction]]
"""(training seed, block) -> BLOCK predictions."""


def general(training_seed: int, block: int) -> list[Document]:
    """Generate general exercises; see training/exercises/."""
    w = Lexicon(np.random.default_rng([stable_seed("general", training_seed), block]), "train")
    return [_document(conversation(w)) for _ in range(BLOCK)]


def episodes(benchmarks: Benchmarks, scaffolds: Sequence[str] = ("compact",)) -> Corpus:
    """Generate expert episodes in the format of scaffolds drawn at equal rates; the expert's replies are in the loss."""
    return functools.partial(_episodes, benchmarks, tuple(scaffolds))


def transitions(benchmarks: Benchmarks, shuffled: bool = False) -> Corpus:
    """Generate world-modelling dialogues; all observations are in the loss.

    shuffled : permute the observations between the transitions of one environment. This is the placebo: the same words
        in the loss and the same length, without the relation of action and observation.
    """
    return functools.partial(_transitions, benchmarks, shuffled)


def predictions(benchmarks: Benchmarks, shuffled: bool = False) -> Predictions:
    """Generate single-turn prompts for reinforcement learning: one turn per dialogue, as in the paper (section 3.4)."""
    return functools.partial(_predictions, benchmarks, shuffled)


def _episodes(benchmarks: Benchmarks, scaffolds: tuple[str, ...], training_seed: int, block: int) -> list[Document]:
    loaded = [load(name) for name in scaffolds]
    documents = []
    for w, bench, task, generated in _draw_tasks(benchmarks, "episodes", training_seed, block):
        scaffold = w.choice(loaded) if len(loaded) > 1 else loaded[0]
        messages = scaffold.open(task)
        for action, results in play(bench, task, generated.expert):
            messages.append(Message(role="assistant", content=scaffold.write(action)))
            if results:
                messages.append(scaffold.observe(results))
        document = _document(messages, scaffold.request_options(task).tools)
        documents.append(replace(document, scaffold=scaffold.name))
    return documents


def _transitions(benchmarks: Benchmarks, shuffled: bool, training_seed: int, block: int) -> list[Document]:
    return [_document(messages) for messages in _dialogues(benchmarks, training_seed, block, shuffled)]


def _predictions(benchmarks: Benchmarks, shuffled: bool, training_seed: int, block: int) -> list[Prediction]:
    w = Lexicon(np.random.default_rng([stable_seed("turns", training_seed), block]), "train")
    turns = []
    for messages in _dialogues(benchmarks, training_seed, block, shuffled):
        if len(messages) > 2:
            at = 2 * w.integer(1, len(messages) // 2)
            turns.append(Prediction(tuple(messages[:at]), messages[at].content))
    return turns


def _dialogues(benchmarks: Benchmarks, training_seed: int, block: int, shuffled: bool) -> list[list[Message]]:
    scaffold = Compact()
    dialogues: list[list[Message]] = []
    places: dict[str, list[tuple[int, int]]] = {}
    for w, bench, task, generated in _draw_tasks(benchmarks, "transitions", training_seed, block):
        messages = dialogue(w, bench, task, generated, scaffold.write)
        places.setdefault(bench.name, []).extend((len(dialogues), at) for at in range(2, len(messages), 2))
        dialogues.append(messages)
    if shuffled:
        w = Lexicon(np.random.default_rng([stable_seed("shuffled", training_seed), block]), "train")
        for own in places.values():
            contents = [dialogues[i][at].content for i, at in w.shuffled(own)]
            for (i, at), content in zip(own, contents, strict=True):
                dialogues[i][at] = replace(dialogues[i][at], content=content)
    return dialogues


class _Drawn(NamedTuple):
    """A generated training task, its environment, and the random source for the rest of its document."""

    lexicon: Lexicon
    benchmark: suite.SuiteBenchmark
    task: Task
    generated: suite.GeneratedTask


def _draw_tasks(benchmarks: Benchmarks, purpose: str, training_seed: int, block: int) -> Iterator[_Drawn]:
    w = Lexicon(np.random.default_rng([stable_seed(purpose, training_seed), block]), "train")
    for i in range(BLOCK):
        name, levels = w.choice(benchmarks)
        level = int(w.choice(levels))
        # Training tasks come from the training split and from seeds that no evaluation uses.
        bench = suite.load(name)
        yield _Drawn(w, bench, *bench.item("train", level, block * BLOCK + i, stable_seed(purpose, training_seed)))


def _document(messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Document:
    """Render messages with the replies of role assistant in the loss."""
    document = chat(messages, [m.role == "assistant" for m in messages], tools)
    return replace(document, messages=tuple(messages), tools=tuple(tools))


def tokenizer_texts(n_blocks: int) -> Iterator[str]:
    """Yield the texts that a base's tokenizer is trained on, of every kind, so that words of each become tokens.

    The base model itself is trained on the general exercises only.
    """
    benchmarks = tuple((name, (1, 2)) for name in suite.NAMES)
    for block in range(n_blocks):
        yield from (document.text for document in general(0, block))
    for corpus in (episodes(benchmarks), transitions(benchmarks)):
        for block in range(n_blocks // 8):
            yield from (document.text for document in corpus(0, block))


NAMES = CORPORA


@functools.cache  # one function for equal arguments, so that blocks of it can be kept
def named(name: str, benchmarks: Benchmarks, scaffolds: tuple[str, ...] = ("compact",)) -> Corpus | Predictions:
    """Return the corpus of this name in conf/arm.

    benchmarks : environments to draw tasks from; not used by `general`.
    scaffolds : formats of the episodes; used by `episodes` only.
    """
    if name not in NAMES:
        raise ConfigError(f"`corpus` {name!r} is unknown; allowed: {', '.join(NAMES)}. Fix the phase in conf/arm/.")
    if name == "general":
        return general
    if name == "episodes":
        return episodes(benchmarks, scaffolds)
    kind, _, shuffled = name.partition("_")
    if kind == "transitions":
        return transitions(benchmarks, bool(shuffled))
    return predictions(benchmarks, bool(shuffled))
