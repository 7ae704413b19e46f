"""Stand-in of a module of WideSearch: what the driver replaces."""

from volcenginesdkarkruntime import Ark  # noqa: F401, as the real one imports what is never used here

model_config = {"default_eval_config": {"model_name": "gpt"}}


def llm_completion(messages, tools=None, model_config_name=""):
    raise RuntimeError("the driver must replace this")
