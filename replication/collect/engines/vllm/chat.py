"""Chat templates: from messages and tools to the token ids of a prompt."""

from typing import Any

from replication.errors import EngineError
from replication.records import Request


def render(tokenizer: Any, request: Request) -> list[int]:
    """Apply the chat template to a request; returns the token ids of the prompt."""
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    tools = [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
        for t in request.tools
    ]
    if tools and "tools" not in str(tokenizer.chat_template):
        raise EngineError(
            "this model's chat template has no tool slot, so it would never see the tools of scaffold `native`. "
            "Use `react`, `json` or `compact`."
        )
    rendered = tokenizer.apply_chat_template(messages, tools=tools or None, add_generation_prompt=True, tokenize=False)
    return tokenizer(rendered, add_special_tokens=False).input_ids
