"""Stand-in of a module of WideSearch: a loop with the faults of the real one, which goes on after every Exception."""

import json

from src.agent.tools import _default_tools
from src.utils.llm import llm_completion


async def run_single_query(query, agent_name="", model_config_name="", tools=_default_tools, **more):
    messages, kept, errors = [{"role": "user", "content": query}], [{"role": "user", "content": query}], 0
    while errors < 3:
        try:
            reply = llm_completion(messages, [{"type": "function"}], model_config_name)
        except Exception:
            errors += 1
            continue
        kept.append({"role": "assistant", "content": {"content": reply.content}})
        messages.append({"role": "assistant", "content": reply.content, "tool_calls": None})
        if not reply.tool_calls:
            return kept
        for call in reply.tool_calls:
            try:
                found = await tools[call.function.name](**json.loads(call.function.arguments))
                text = found.error or found.data
            except Exception as error:
                text = str(error)
            messages.append({"role": "user", "content": text})
    return [*kept, {"role": "user", "content": "[x] Too many errors have occurred."}]
