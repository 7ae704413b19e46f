"""The command line: `python -m replication COMMAND ...`; a command is imported when it is called.

Commands of a study take Hydra overrides, such as `study=controlled_tiny seed=1`; the others take their own arguments.
"""

from __future__ import annotations

import ast
import gc
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

STUDY_COMMANDS = {
    "weights": "have the weights of a study's public models on this machine: download, convert, check",
    "train": "train the missing organisms of a study",
    "run": "play the missing episodes of a study into the store, then write its index",
    "serve": "start vLLM as an OpenAI-compatible server for one checkpoint of a study",
    "sweep": "submit or run the unfinished jobs of a study, one per checkpoint",
    "status": "list the jobs of a study: state, episodes, time left, failures",
    "gather": "write the index of a study whose episodes several jobs or machines collected",
    "ingest": "store the results of official harnesses that a study names",
    "official": "run the official harnesses that a study names, store their results and write the index",
    "plan": "print the cost and the precision of a study before it is run",
    "doctor": "print what this machine has and lacks for a study",
    "paper": "build figures, tables, verdicts and paper of a study",
    "wandb_sync": "log tables and figures of a study to wandb and upload what was logged offline",
    "certify": "replay a part of a study's episodes with another batch and order, and count what differs",
    "bases": "train the missing base models that the arms start from",
    "calibrate": "choose the levels of a study per scale on the calibration split",
}
"""Hydra composes conf/ with the arguments, and `main` is called with the checked `settings.Root`."""

OTHER_COMMANDS = {
    "replicate": "run a study from start to verdicts: train, run, official, paper",
    "harness": "install an official harness into its own virtual environment: NAME ...",
    "line": "run one job of a sweep: results/sweeps/NAME/lines.jsonl NUMBER",
    "audit": "audit tables of published scores: TABLE.csv [MORE.csv ...] [treatment control]",
    "diff": "list what differs between two runs or two studies: A B",
    "evidence": "print or check the tables of published numbers",
    "show": "print a task as a model sees it, or play it",
    "readme": "rewrite the generated blocks of README.md from the frozen verdicts",
    "suite_page": "rewrite the page of the generated environments",
}
"""`main` is called with the list of arguments."""

COMMANDS = STUDY_COMMANDS | OTHER_COMMANDS

CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = ("study", "engine", "training", "sampling", "analysis", "plan", "monitor", "launcher")
"""Groups of conf/ from which a command line selects one file each."""


def main(arguments: list[str]) -> int:
    """Run a command and return its exit code; without one, or with `--help`, list the commands."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("-h", "--help", "help"):
        print(_listing())
        return 0
    if name not in COMMANDS:
        print(f"error: no command {name!r}; the commands are {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    if "-h" in rest or "--help" in rest:
        print(_help(name))
        return 0
    return _call(name, rest)


def _call(name: str, arguments: list[str]) -> int:
    from replication.errors import exit_on_error

    exit_on_error(_refuse_secrets)(arguments)
    command = import_module(f"replication.commands.{name}")
    if name in OTHER_COMMANDS:
        return exit_on_error(command.main)(arguments) or 0
    import hydra

    from replication import multirun, settings

    settings.register()

    @exit_on_error
    @settings.clear_errors()
    @hydra.main(version_base="1.3", config_path=str(settings.CONF), config_name="config")
    @exit_on_error
    def composed(cfg: DictConfig) -> None:
        multirun.run_job(command.main, settings.checked(cfg))

    sys.argv = [f"python -m replication {name}", *arguments]
    composed()
    return 0


def _refuse_secrets(arguments: list[str]) -> None:
    from replication.errors import ConfigError
    from replication.masking import mask_text

    # Before Hydra, whose messages quote the arguments.
    found = [mask_text(argument) for argument in arguments if mask_text(argument) != argument]
    if found:
        raise ConfigError(
            f"`{'`, `'.join(found)}` has what looks like a key or password; settings are stored and published. Remove it "
            f"and pass it in the environment, for example as HF_TOKEN."
        )


def _listing() -> str:
    lines = [f"  {name:11}{summary}" for name, summary in COMMANDS.items()]
    usage = "usage: python -m replication COMMAND [ARGUMENT ...]"
    return "\n".join([usage, "", *lines, "", "`python -m replication COMMAND --help` explains a command."])


def _help(name: str) -> str:
    """Return the docstring of a command and, for a study's, the choices in conf/; imports nothing heavy."""
    source = (Path(__file__).parent / "commands" / f"{name}.py").read_text(encoding="utf-8")
    parts = [ast.get_docstring(ast.parse(source)) or ""]
    if name in STUDY_COMMANDS:
        groups = {group: ", ".join(sorted(f.stem for f in (CONF / group).glob("*.yaml"))) for group in GROUPS}
        parts.append("Choices, GROUP=CHOICE:" + "".join(f"\n  {group:10}{files}" for group, files in groups.items()))
        parts.append(
            "Single values, KEY=VALUE, such as `study.n_trials=2`: every key of replication/settings/schema.py.\n"
            "`--cfg job` prints the composed configuration; `--multirun` sweeps over comma-separated values,\n"
            "and each job is a study named after its overrides."
        )
    return "\n\n".join(parts)


if __name__ == "__main__":
    gc.set_threshold(100_000, 20, 20)  # imports and tables create many objects that stay; fewer searches for garbage
    from replication.errors import exit_on_error
    from replication.processes import interrupt_on_signals
    from replication.streams import print_any_text

    interrupt_on_signals()
    print_any_text()
    sys.exit(exit_on_error(main)(sys.argv[1:]))
