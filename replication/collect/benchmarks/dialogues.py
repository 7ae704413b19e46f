"""Next-observation dialogues: an action is the user's message, the observation that follows is the assistant's.

The paper's format of world modelling (arXiv 2606.24597, section 3.1): system prompt with the initial state, history,
current action -> next observation. Training reads these dialogues, and a probe asks a checkpoint for single steps of
them on held-out tasks. Actions are the expert's; a share of them is replaced by wrong ones, so that errors and detours
are modelled too.
"""

from collections.abc import Callable, Iterator, Sequence

from replication.collect.benchmarks.suite import GeneratedTask, SuiteBenchmark
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.interfaces import Action
from replication.records import Message, Task

WRONG = 0.33
"""Share of wrong actions."""

Write = Callable[[Action], str]
"""Action -> text in the syntax of a scaffold."""


def play(bench: SuiteBenchmark, task: Task, actions: Sequence[Action]) -> Iterator[tuple[Action, list[str]]]:
    """Execute actions on a fresh world; yields each with the results of its calls."""
    world = bench.start(task)
    for action in actions:
        yield action, [world.step(call) for call in action.calls]


def dialogue(
    lexicon: Lexicon, bench: SuiteBenchmark, task: Task, generated: GeneratedTask, write: Write
) -> list[Message]:
    """Write a whole episode as a dialogue: role user acts, role assistant is the world."""
    environment = bench.environment
    actions = []
    for action in generated.expert:
        turn = environment.perturb(lexicon, task, action) if action.calls and lexicon.bernoulli(WRONG) else action
        if turn.calls:
            actions.append(turn)
    messages = [Message(role="system", content=f"you are the {bench.name}\n{environment.describe(task.setup)}")]
    for action, results in play(bench, task, actions):
        messages.append(Message(role="user", content=write(action)))
        messages.append(Message(role="assistant", content="\n".join(results)))
    return messages
