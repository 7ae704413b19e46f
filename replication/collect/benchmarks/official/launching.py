"""Run the commands of an official harness in its own virtual environment, with few variables and a log."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from replication.collect.interfaces import HarnessRun
from replication.errors import HarnessError
from replication.files import write_json
from replication.records import Json
from replication.settings.limits import limited, located, named, one_of, whole

MARKER = "launched.json"
"""In a run's folder: the commands that were started there, and whether they ended well."""
CONTAINERS = ("docker", "podman", "apptainer", "none")
PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "DOCKER_HOST", "CONTAINER_HOST", "XDG_RUNTIME_DIR", "SSL_CERT_FILE")
"""Variables that a harness sees besides those that its adapter and `launch.keys` name."""
TAIL = 1500
"""Characters of a log that an error message quotes."""


@dataclass
class Launch:
    """How a harness is run where its folder has no results; nothing of this can change a score."""

    venv: str | None = located(None)  # virtual environment with the tool; null: results must exist
    checkout: str | None = located(None)  # folder of the tool's repository, for tools that run from it
    endpoint: str = limited("http://127.0.0.1:8000/v1")  # as the tool reaches it, from its containers too
    served: str | None = limited(None)  # name of the model there; null: that of the study
    container: str = one_of(CONTAINERS, "docker")
    workers: int = whole(1, 10_000, 8)
    keys: list[str] = named(list)  # environment variables with keys that the tool may see


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a tool."""

    argv: Sequence[str]
    """The first is a program, looked for in the tool's virtual environment, then on PATH."""
    log: str
    """Name of its log in the run's folder."""
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def check(options: Launch, containers: Sequence[str], name: str) -> None:
    """Raise HarnessError unless the virtual environment and the container engine are there."""
    assert options.venv is not None
    if not (Path(options.venv) / "bin").is_dir():
        raise HarnessError(
            f"`options.launch.venv` {options.venv!r} is no virtual environment. Install {name} there first."
        )
    if options.checkout is not None and not Path(options.checkout).is_dir():
        raise HarnessError(
            f"`options.launch.checkout` {options.checkout!r} is no folder. Clone the repository of {name} there."
        )
    allowed = containers or ("none",)
    if options.container not in allowed:
        raise HarnessError(
            f"`options.launch.container` is {options.container!r}; {name} runs with {', '.join(allowed)}. Choose one."
        )
    if options.container != "none" and shutil.which(options.container) is None:
        there = [engine for engine in allowed if engine != "none" and shutil.which(engine)]
        raise HarnessError(
            f"`options.launch.container` is {options.container!r}, and there is no such program on PATH; of those that "
            f"{name} runs with there is {', '.join(there) or 'none'}. Install one, or run the tool elsewhere and put its "
            f"results into the folder of the entry, with `options.launch.venv` null."
        )


def state(folder: Path) -> Literal["not_ours", "started", "ended"]:
    """Tell whether commands were started in this folder, so that results in it may be partial, and whether all ended."""
    if not (folder / MARKER).is_file():
        return "not_ours"
    started = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    return "ended" if started["n_ended"] == len(started["commands"]) else "started"


def launch(run: HarnessRun, commands: Sequence[Command], options: Launch) -> None:
    """Run commands one after the other, each as a fresh process; those that ended well are not run again.

    The tools resume by themselves where they were interrupted. Raises HarnessError with the end of the log if one fails,
    and before anything runs if the folder has results of other commands.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    marker = run.folder / MARKER
    started: Json = {"commands": [list(command.argv) for command in commands], "n_ended": 0}
    if marker.is_file():
        earlier = json.loads(marker.read_text(encoding="utf-8"))
        if earlier["commands"] != started["commands"]:
            raise HarnessError(
                f"`{run.folder}` has results of another command ({MARKER}), which the tool would reuse. Give this run its "
                f"own folder, or move the old one away."
            )
        started = earlier
    for number, command in enumerate(commands):
        if number >= started["n_ended"]:
            write_json(marker, started)
            _run(run, command, options)
            started["n_ended"] = number + 1
    write_json(marker, started)


def _run(run: HarnessRun, command: Command, options: Launch) -> None:
    assert options.venv is not None
    programs = Path(options.venv).absolute() / "bin"
    # Some tools use fixed names in the system's temporary folder, where two runs would overwrite each other.
    temporary = run.folder.absolute() / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    passed = {name: os.environ[name] for name in (*PASSED, *options.keys) if name in os.environ}
    env = (
        passed
        | {"TMPDIR": str(temporary), "PATH": f"{programs}{os.pathsep}{passed.get('PATH', '')}"}
        | dict(command.env)
    )
    program = shutil.which(command.argv[0], path=env["PATH"])
    if program is None:
        raise HarnessError(
            f"no program `{command.argv[0]}` in `{programs}`. Install the tool into `options.launch.venv`."
        )
    log = run.folder / command.log
    with log.open("ab") as file:
        done = subprocess.run(
            [program, *command.argv[1:]], cwd=command.cwd or run.folder, env=env, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    if done.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
        raise HarnessError(f"`{command.argv[0]}` ended with code {done.returncode}; its log `{log}` ends with:\n{tail}")


def served(run: HarnessRun, options: Launch) -> str:
    """Return the name of the model at the endpoint."""
    return options.served or run.model.path


def checkout(options: Launch, name: str) -> Path:
    """Return the folder of the tool's repository; HarnessError if none is named."""
    if options.checkout is None:
        raise HarnessError(f"{name} runs from its repository: name a clone of it in `options.launch.checkout`.")
    return Path(options.checkout).absolute()
