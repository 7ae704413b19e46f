"""Show a task as a model sees it with an expert's episode, or let a person play it, in the loop that runs use.

    python -m replication show task=research level=3 seed=7 scaffold=react [mode=play]

Each field of `Choice` is a key.
"""

import dataclasses
import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.collect.episodes import play
from replication.collect.scaffolds.prompts import listing
from replication.errors import ConfigError, EngineError
from replication.records import Message, Reply, RunSpec, Sampling


@dataclass
class Choice:
    """The task to show, and how."""

    task: str = "terminal"  # an environment of the suite
    level: int = 1
    seed: int = 0
    index: int = 0  # of the task among those of this seed
    split: str = "evaluation"
    scaffold: str = "compact"
    tool_syntax: str = "hermes"  # of scaffold native
    mode: str = "show"  # show: the expert acts; play: replies are read from standard input
    max_turns: int = 200  # more than in a run: experts of the highest level need many, and a person may err often


def read(arguments: list[str]) -> Choice:
    """Parse key=value arguments; raises ConfigError for an unknown key or a value of the wrong type."""
    allowed = ", ".join(field.name for field in dataclasses.fields(Choice))
    for argument in arguments:
        if "=" not in argument:
            raise ConfigError(f"{argument!r} is not key=value; the keys are: {allowed}.")
    try:
        choice = cast(Choice, OmegaConf.to_object(OmegaConf.merge(Choice, OmegaConf.from_dotlist(arguments))))
    except (OmegaConfBaseException, YAMLError) as error:
        first = str(error).strip().split("\n")[0]
        raise ConfigError(f"{' '.join(arguments)}: {first}. The keys are: {allowed}.") from None
    if choice.mode not in ("show", "play"):
        raise ConfigError(f"`mode` is {choice.mode!r}; allowed: show, play.")
    for key, low in (("seed", 0), ("index", 0), ("max_turns", 1)):
        if getattr(choice, key) < low:
            raise ConfigError(f"`{key}` must be at least {low}; got {getattr(choice, key)}.")
    return choice


def show(choice: Choice) -> None:
    """Play one episode and print all of it: the messages to the model, its replies, the score."""
    benchmark, scaffold = suite.load(choice.task), scaffolds.load(choice.scaffold, choice.tool_syntax)
    task, generated = benchmark.item(choice.split, choice.level, choice.index, choice.seed)
    spec = RunSpec(
        engine="none", engine_options={}, max_malformed=3,
        model=choice.mode, revision="", dtype="", context=0, benchmark=benchmark.name,
        benchmark_version=benchmark.version, scaffold=scaffold.name, scaffold_version=scaffold.version,
        max_turns=choice.max_turns, max_episode_tokens=1, sampling=Sampling(temperature=0.0, max_tokens=1),
        seed=choice.seed,
    )  # fmt: skip
    print(f"{task.id}  content {task.content_hash}  scaffold {scaffold.name}  {' '.join(generated.tags)}")
    options = scaffold.request_options(task)
    if options.tools:
        _print("tools, in the chat template", listing(options.tools))
    if options.schema is not None:
        _print("schema of all replies", json.dumps(options.schema, ensure_ascii=False))

    playing = choice.mode == "play"
    if playing:
        replies = _typed(one_line=scaffold.name == "compact")
    else:
        replies = (scaffold.write(action) for action in generated.expert)
    turns = play(spec, task, 0, benchmark.start(task), scaffold)
    n_shown = 0
    try:
        request = next(turns)
        while True:
            _print_messages(request.messages[n_shown:], playing)
            n_shown = len(request.messages)
            text = next(replies, None)
            if text is None:
                request = turns.throw(EngineError("the input ended before the episode"))
            else:
                # Tokens are not counted, so their limit is never reached.
                request = turns.send(Reply(text=text, finish="stop", n_prompt_tokens=0, n_completion_tokens=0))
    except StopIteration as end:
        episode = end.value
    _print_messages(episode.trajectory[n_shown:], playing)

    score = benchmark.grade(task, episode)
    if score.value is None:
        _print("no score", str(episode.error))
    else:
        ended = f"stopped by {episode.stop_reason} after {episode.n_turns} turns"
        _print(f"score {score.value:g}", f"{ended}\n{dict(score.details)}")


def _typed(*, one_line: bool) -> Iterator[str]:
    """Read replies from standard input: one line each, or lines up to an empty one."""
    print("\nYou act:", "one command per line." if one_line else "end each reply with an empty line.")
    reply: list[str] = []
    for line in sys.stdin:
        if line.strip():
            reply.append(line.rstrip("\r\n"))
        if reply and (one_line or not line.strip()):
            yield "\n".join(reply)
            reply.clear()
    if reply:
        yield "\n".join(reply)


def _print_messages(messages: Iterable[Message], playing: bool) -> None:
    for message in messages:
        if not (playing and message.role == "assistant"):  # the person has just typed it
            _print(message.role, message.content)


def _print(title: str, text: str) -> None:
    print(f"\n--- {title}\n{text}", flush=True)


def main(arguments: list[str]) -> None:
    """Show or play the task that the arguments name."""
    # Tasks and pasted replies are UTF-8, independent of the terminal's locale.
    for stream in (sys.stdout, sys.stdin):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    show(read(arguments))
