"""Program that runs in the environment of bfcl-eval: registers the served model, then calls the official command line.

Run: python -P bfcl_driver.py generate|evaluate ARGUMENT ...    the official command
     python -P bfcl_driver.py items FILE CATEGORY ...           writes the ids of all items, and of the conversations that
                                                                memory items depend on
The variables REPLICATION_MODE, REPLICATION_SERVED and REPLICATION_SOCKET name the mode, the model and the proxy.
"""

import json
import os
import sys
from pathlib import Path

NAME = "replication"
"""Of the model in the harness; the harness reads `_` as `/`."""


def register() -> None:
    """Add the model to those that the harness knows; requests go to the Unix socket of the proxy."""
    import httpx
    from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING, ModelConfig
    from bfcl_eval.model_handler.api_inference.openai_completion import OpenAICompletionsHandler

    class Handler(OpenAICompletionsHandler):
        def _build_client_kwargs(self):
            options = {"api_key": "EMPTY", "base_url": "http://proxy/v1", "timeout": 3600.0}
            socket = os.environ.get("REPLICATION_SOCKET")
            if socket:  # evaluation has none: it asks no model
                options["http_client"] = httpx.Client(transport=httpx.HTTPTransport(uds=socket), timeout=3600.0)
            return options

        def write(self, result, result_dir, update_mode=False):
            # Always appended: rewriting the file for each item, as with selected items, could lose rows when interrupted.
            super().write(result, result_dir, update_mode=False)

    fc = os.environ["REPLICATION_MODE"] == "fc"
    MODEL_CONFIG_MAPPING[NAME] = ModelConfig(
        model_name=os.environ["REPLICATION_SERVED"], display_name=NAME, url="", org="", license="", model_handler=Handler,
        is_fc_model=fc, underscore_to_dot=fc,
    )  # fmt: skip


def items(file: str, *categories: str) -> None:
    """Write {category: {items, prerequisites}} from the data of the harness."""
    from bfcl_eval.utils import load_dataset_entry

    found = {}
    for category in categories:
        ids = [entry["id"] for entry in load_dataset_entry(category, include_prereq=True)]
        found[category] = {
            "items": [item for item in ids if "prereq" not in item],
            "prerequisites": [item for item in ids if "prereq" in item],
        }
    Path(file).write_text(json.dumps(found), encoding="utf-8")


def main(command: str, *arguments: str) -> None:
    """Run one command."""
    if command == "items":
        items(*arguments)
        return
    from bfcl_eval.__main__ import cli

    register()
    cli([command, *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
