"""What organisms read: general exercises, expert episodes, and transitions of worlds.

Each corpus is an endless stream of documents, a function of (training seed, block) alone, so that a resumed training run
reads on where the interrupted one stopped. Everything comes from the training split of the suite.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

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

VERSION = "3"
"""Part of a training run's identity; a test holds the corpora's hashes, so that no text changes without it."""

BLOCK = 256
"""Documents per block; batches are made within a block."""

Benchmarks = Sequence[tuple[str, tuple[int, ...]]]
"""(name, levels) to draw from; a level that is named twice is drawn twice as often."""

Corpus = Callable[[int, int], list[Document]]
"""(training seed, block) -> BLOCK documents."""


@dataclass(frozen=True)
class Prediction:
    """A single turn of world modelling: what a policy is asked, and what the world answered."""

    messages: tuple[Message, ...]
    """Ends with the action whose observation is wanted."""
    wanted: str


Predictions = Callable[[int, int], list[Prediction]]
"""(training seed, block) -> BLOCK predictions."""


def general(training_seed: int, block: int) -> list[Document]:
    """Make general exercises; see training/general.py."""
    w = Lexicon(np.random.default_rng([stable_seed("general", training_seed), block]), "train")
    return [_learnt(conversation(w)) for _ in range(BLOCK)]


def episodes(benchmarks: Benchmarks, scaffolds: Sequence[str] = ("compact",)) -> Corpus:
    """Make expert episodes as the scaffolds show them, each drawn as often; the expert's replies are learnt."""
    known = [load(name) for name in scaffolds]

    def corpus(training_seed: int, block: int) -> list[Document]:
        documents = []
        for w, bench, task, draft in _drafts(benchmarks, "episodes", training_seed, block):
            scaffold = w.choice(known) if len(known) > 1 else known[0]
            messages = scaffold.open(task)
            for action, results in play(bench, task, draft.expert):
                messages.append(Message(role="assistant", content=scaffold.write(action)))
                if results:
                    messages.append(scaffold.observe(results))
            documents.append(_learnt(messages, scaffold.slots(task).tools))
        return documents

    return corpus


def transitions(benchmarks: Benchmarks, shuffled: bool = False) -> Corpus:
    """Make world-modelling dialogues, all of whose observations are learnt.

    shuffled : exchange the observations between the transitions of one environment: the placebo, equal in every word
        that is learnt and in length, without the relation of action and observation.
    """

    def corpus(training_seed: int, block: int) -> list[Document]:
        return [_learnt(messages) for messages in _dialogues(benchmarks, training_seed, block, shuffled)]

    return corpus


def predictions(benchmarks: Benchmarks, shuffled: bool = False) -> Predictions:
    """Make single-turn prompts for reinforcement learning: one turn of each dialogue, as in the paper (section 3.4)."""

    def corpus(training_seed: int, block: int) -> list[Prediction]:
        w = Lexicon(np.random.default_rng([stable_seed("turns", training_seed), block]), "train")
        found = []
        for messages in _dialogues(benchmarks, training_seed, block, shuffled):
            if len(messages) > 2:
                at = 2 * w.integer(1, len(messages) // 2)
                found.append(Prediction(tuple(messages[:at]), messages[at].content))
        return found

    return corpus


def _dialogues(benchmarks: Benchmarks, training_seed: int, block: int, shuffled: bool) -> list[list[Message]]:
    scaffold = Compact()
    made: list[list[Message]] = []
    places: dict[str, list[tuple[int, int]]] = {}
    for w, bench, task, draft in _drafts(benchmarks, "transitions", training_seed, block):
        messages = dialogue(w, bench, task, draft, scaffold.write)
        places.setdefault(bench.name, []).extend((len(made), at) for at in range(2, len(messages), 2))
        made.append(messages)
    if shuffled:
        w = Lexicon(np.random.default_rng([stable_seed("shuffled", training_seed), block]), "train")
        for several in places.values():
            contents = [made[i][at].content for i, at in w.shuffled(several)]
            for (i, at), content in zip(several, contents, strict=True):
                made[i][at] = replace(made[i][at], content=content)
    return made


def _drafts(
    benchmarks: Benchmarks, purpose: str, training_seed: int, block: int
) -> Iterator[tuple[Lexicon, suite.SuiteBenchmark, Task, suite.GeneratedTask]]:
    w = Lexicon(np.random.default_rng([stable_seed(purpose, training_seed), block]), "train")
    for i in range(BLOCK):
        name, levels = w.choice(benchmarks)
        level = int(w.choice(levels))
        # Training tasks come from the training split and from seeds that no evaluation uses.
        yield (w, *suite.load(name).item("train", level, block * BLOCK + i, stable_seed(purpose, training_seed)))


def _learnt(messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Document:
    return chat(messages, [m.role == "assistant" for m in messages], tools)


def tokenizer_texts(n_blocks: int) -> Iterator[str]:
    """Give the texts that a base's tokenizer is made from: of every kind, so that words of all of them become tokens.

    The base itself reads the general exercises only.
    """
    everything = tuple((name, (1, 2)) for name in suite.NAMES)
    for block in range(n_blocks):
        yield from (document.text for document in general(0, block))
    for corpus in (episodes(everything), transitions(everything)):
        for block in range(n_blocks // 8):
            yield from (document.text for document in corpus(0, block))


NAMES = ("general", "episodes", "transitions", "transitions_shuffled", "predictions", "predictions_shuffled")


def named(name: str, benchmarks: Benchmarks, scaffolds: Sequence[str] = ("compact",)) -> Corpus | Predictions:
    """Find a corpus by the name that conf/arm uses."""
    if name not in NAMES:
        raise ConfigError(f"`corpus` {name!r} is unknown; allowed: {', '.join(NAMES)}. Mend the phase in conf/arm/.")
    if name == "general":
        return general
    kind, _, shuffled = name.partition("_")
    if kind == "episodes":
        return episodes(benchmarks, scaffolds)
    return {"transitions": transitions, "predictions": predictions}[kind](benchmarks, bool(shuffled))
