"""Documents: texts with the spans that enter the loss, and the rendering of messages as such texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from replication.records import Message, Tool

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

CHAT_TEMPLATE = (
    "{% if tools %}" + START + "tools{% for t in tools %}{{ '\n' + t.function.name }}"
    "{% for p in t.function.parameters.properties %} {{ p }}{% endfor %}{% endfor %}" + END + "\n{% endif %}"
    "{% for m in messages %}" + START + "{{ m['role'] }}\n{{ m['content'] }}" + END + "\n{% endfor %}"
    "{% if add_generation_prompt %}" + START + "assistant\n{% endif %}"
)
"""The template that vLLM renders at evaluation; `chat` writes the same text, which a test checks."""


@dataclass(frozen=True)
class Document:
    """A training text."""

    text: str
    in_loss: tuple[tuple[int, int], ...]
    """Character spans [start, end) whose tokens enter the loss."""
    scaffold: str | None = None
    """Format of an expert episode; None in other corpora."""
    messages: tuple[Message, ...] = ()
    """The conversation that the text shows, to render it in another format; () where nothing does."""
    tools: tuple[Tool, ...] = ()
    """Content of the template's tool slot."""


Counts = dict[str, dict[str, int]]
"""Documents of the blocks that a phase has read, by corpus, for episodes also by scaffold: how many were `drawn`, and how
many of these are `too_long` for the context and therefore left out."""


def count(counts: Counts, name: str, fits: bool) -> None:
    """Count a document under this name."""
    entry = counts.setdefault(name, {"drawn": 0, "too_long": 0})
    entry["drawn"] += 1
    entry["too_long"] += not fits


def add_counts(total: Counts, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Add counts to a total."""
    for name, entry in counts.items():
        added = total.setdefault(name, {"drawn": 0, "too_long": 0})
        for key, n in entry.items():
            added[key] += n


def chat(messages: Sequence[Message], in_loss: Sequence[bool], tools: Sequence[Tool] = ()) -> Document:
    """Render messages as the chat template does.

    in_loss : for each message, whether its content and end mark enter the loss.
    tools : content of the template's tool slot, for scaffold `native`.
    """
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    at = 0
    if tools:
        listed = "\n".join(" ".join((tool.name, *tool.parameters["properties"])) for tool in tools)
        parts.append(f"{START}tools\n{listed}{END}\n")
        at = len(parts[0])
    for message, included in zip(messages, in_loss, strict=True):
        head = f"{START}{message.role}\n"
        body = f"{message.content}{END}"
        if included:
            spans.append((at + len(head), at + len(head) + len(body)))
        parts += [head, body, "\n"]
        at += len(head) + len(body) + 1
    return Document("".join(parts), tuple(spans))
