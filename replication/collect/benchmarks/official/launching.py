"""Run the commands of an official harness in its own virtual environment, with few variables and a log.

A model is reached through `proxy`, which runs as long as the commands do.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from replication.collect.benchmarks.official import sandbox, venvs
from replication.collect.benchmarks.official.proxy import Rules, Wire, check_endpoint, proxy
from replication.collect.interfaces import Endpoint, HarnessRun
from replication.errors import HarnessError
from replication.files import write_json
from replication.records import Json
from replication.settings.limits import limited, located, named, one_of, whole

MARKER = "launched.json"
"""In a run's folder: the commands that were started there, and whether they ended well."""
WIRE = "wire.json"
"""In a run's folder: what the tool sent to the model."""
AUTO = "auto"
"""Instead of a virtual environment: the one of this package's lock file, installed at the first use."""
CONTAINERS = ("docker", "podman", "apptainer", "none")
ASKED = {"docker": "info", "podman": "info", "apptainer": "version"}
"""What tells whether an engine can run containers; a client without its daemon is a program on PATH as well."""
PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "DOCKER_HOST", "CONTAINER_HOST", "XDG_RUNTIME_DIR", "SSL_CERT_FILE")
"""Variables that a harness sees besides those that its adapter and `launch.keys` name."""
PATIENCE_S = 10.0
"""For a tool that is interrupted, until it is killed; some remove their containers meanwhile."""
TAIL = 1500
"""Characters of a log that an error message quotes."""


@dataclass
class Launch:
    """How a harness is run where its folder has no results; nothing of this can change a score."""

    venv: str | None = located(None)  # with the tool; auto: from our lock file, if it has one; null: results must exist
    checkout: str | None = located(None)  # folder of the tool's repository, for tools that run from it
    endpoint: str | None = limited(
        None
    )  # of a server that is up; null: that of the study's engine, which `official` starts
    api_key_env: str | None = limited(None)  # environment variable with the key of `endpoint`
    served: str | None = limited(None)  # name of the model for the tool, and at `endpoint`; null: that of the study
    container: str = one_of(CONTAINERS, "docker")
    workers: int = whole(1, 10_000, 8)
    keys: list[str] = named(list)  # environment variables with keys that the tool may see
    mismatch: str = one_of(("refuse", "record"), "refuse")  # of sampling that the tool sends and the run does not state


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a tool."""

    argv: Sequence[str]
    """The first is a program, looked for in the tool's virtual environment, then on PATH."""
    log: str
    """Name of its log in the run's folder."""
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    sandbox: str = "none"
    """Of `sandbox.KINDS`; inside one the command can write to the run's folder only, and has no network."""


def check(options: Launch, containers: Sequence[str], name: str, recipe: venvs.Recipe | None = None) -> None:
    """Raise HarnessError unless the virtual environment and the container engine are there.

    recipe : of the environment that this package installs; None where the tool is in no registry of packages.
    """
    assert options.venv is not None
    if options.venv == AUTO and recipe is None:
        raise HarnessError(
            f"`options.launch.venv` is {AUTO}, and {name} cannot be installed from a registry of packages. conf/ingest has "
            f"the commands that install it; then name its virtual environment."
        )
    if options.venv != AUTO and not (Path(options.venv) / "bin").is_dir():
        raise HarnessError(
            f"`options.launch.venv` {options.venv!r} is no virtual environment. Install {name} there first."
        )
    if options.checkout is not None and not Path(options.checkout).is_dir():
        raise HarnessError(
            f"`options.launch.checkout` {options.checkout!r} is no folder. Clone the repository of {name} there."
        )
    if not containers:
        return
    if options.container not in containers:
        raise HarnessError(
            f"`options.launch.container` is {options.container!r}; {name} runs with {', '.join(containers)}. Choose one."
        )
    if options.container != "none" and shutil.which(options.container) is None:
        there = [engine for engine in containers if engine != "none" and shutil.which(engine)]
        raise HarnessError(
            f"`options.launch.container` is {options.container!r}, and there is no such program on PATH; of those that "
            f"{name} runs with there is {', '.join(there) or 'none'}. Install one, or run the tool elsewhere and put its "
            f"results into the folder of the entry, with `options.launch.venv` null."
        )
    if options.container != "none" and not _answers(options.container):
        raise HarnessError(
            f"`{options.container} {ASKED[options.container]}` fails: the daemon does not run, or this user may not use it. "
            f"Start it, or choose another of {', '.join(containers)} in `options.launch.container`."
        )


def _answers(engine: str) -> bool:
    try:
        done = subprocess.run([engine, ASKED[engine]], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def state(folder: Path) -> Literal["not_ours", "started", "ended"]:
    """Tell whether commands were started in this folder, so that results in it may be partial, and whether all ended."""
    if not (folder / MARKER).is_file():
        return "not_ours"
    started = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    return "ended" if started["n_ended"] == len(started["commands"]) else "started"


def reopen(folder: Path) -> None:
    """Have the commands of a folder run again, by a tool that keeps what is complete."""
    write_json(folder / MARKER, json.loads((folder / MARKER).read_text(encoding="utf-8")) | {"n_ended": 0})


def launch(
    run: HarnessRun, commands: Sequence[Command], options: Launch, env: Mapping[str, str], programs: Path | None
) -> None:
    """Run commands one after the other, each as a fresh process; those that ended well are not run again.

    env : variables of all of them. programs : folder in which they are looked for first.

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
            _run(run, command, options, env, programs)
            started["n_ended"] = number + 1
    write_json(marker, started)


def _run(
    run: HarnessRun, command: Command, options: Launch, variables: Mapping[str, str], programs: Path | None
) -> None:
    # Some tools use fixed names in the system's temporary folder, where two runs would overwrite each other.
    temporary = run.folder.absolute() / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    passed = {name: os.environ[name] for name in (*PASSED, *options.keys) if name in os.environ}
    path = os.pathsep.join([*([str(programs)] if programs else []), passed.get("PATH", "")])
    env = passed | {"TMPDIR": str(temporary), "PATH": path} | dict(variables) | dict(command.env)
    program = shutil.which(command.argv[0], path=path)
    if program is None:
        raise HarnessError(
            f"no program `{command.argv[0]}` in `{programs}`. Install the tool into `options.launch.venv`."
        )
    argv = sandbox.wrapped(sandbox.choose(command.sandbox), [program, *command.argv[1:]], run.folder)
    log = run.folder / command.log
    with log.open("ab") as file:
        process = subprocess.Popen(
            argv, cwd=command.cwd or run.folder, env=env, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        code = process.wait()
    finally:
        _end(process)
    if code:
        tail = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
        raise HarnessError(f"`{command.argv[0]}` ended with code {code}; its log `{log}` ends with:\n{tail}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a command that was interrupted, and all that it left behind, such as services on ports that the next one needs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def programs(options: Launch, recipe: venvs.Recipe | None) -> Path:
    """Return the folder with the tool's programs, after installing them if that is what `venv` says."""
    if options.venv == AUTO and recipe is not None:
        return venvs.ensure(recipe).parent
    return Path(str(options.venv)).absolute() / "bin"


@contextlib.contextmanager
def turn(name: str) -> Iterator[None]:
    """Hold the only place of a tool on this machine while the block runs; waits until it is free."""
    path = Path(tempfile.gettempdir()) / f"replication-{os.getuid()}-{name}.lock"
    with venvs.in_turn(path, f"another run of {name} is under way on this machine"):
        yield


@contextlib.contextmanager
def sockets() -> Iterator[Path]:
    """Yield a folder of this user for Unix sockets, whose path is short: it has at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="harness-") as place:
        yield Path(place)


@contextlib.contextmanager
def model(
    run: HarnessRun, options: Launch, socket: Path | None = None, *, host: str = "127.0.0.1", token: str | None = None
) -> Iterator[str]:
    """Serve the model through the proxy while the block runs, and yield its URL up to /v1, or the socket.

    host : address to listen at. token : asked of the tool, where others than this machine can reach that address.

    Requests without a seed get one; equal requests of several attempts get different ones. The endpoint is asked before and
    after, since a tool may score a dead one. What was sent is added to the folder's record. Raises HarnessError if the
    endpoint is dead, or if the tool sent sampling that the run does not state and `mismatch` refuses it.
    """
    endpoint, name = endpoint_of(run, options), served(run, options)
    server = check_endpoint(endpoint, "before the harness starts")
    earlier = wire_of(run.folder)
    rules = Rules(
        endpoint=endpoint, sampling=run.spec.sampling, seed=(run.spec.seed, earlier.n_requests),
        refuse=options.mismatch == "refuse", template_options=run.model.template_options, numbered=True,
        aliases=(name, plain(name)), token=token,
    )  # fmt: skip
    with proxy(rules, socket, host) as (wire, address):
        try:
            yield address if socket is not None else f"{address}/v1"
        finally:
            total = earlier.plus(Wire(servers=[server])).plus(wire)
            write_json(run.folder / WIRE, dataclasses.asdict(total))
    check_endpoint(endpoint, "after the harness ran")
    if wire.failures.get("forbidden"):
        raise HarnessError(
            f"the harness sent what run `{run.spec.run_id}` does not state: {'; '.join(wire.deviations) or 'see its log'}. "
            f"Change `sampling`, or pass it on and list it as a deviation with `options.launch.mismatch: record`."
        )


def endpoint_of(run: HarnessRun, options: Launch) -> Endpoint:
    """Return the server that a run asks: the one that `launch.endpoint` names, else that of the study's engine."""
    if options.endpoint is not None:
        return Endpoint(url=options.endpoint.rstrip("/"), served=served(run, options), api_key_env=options.api_key_env)
    if run.endpoint is None:
        raise HarnessError(
            f"`options.launch.endpoint` is null, so the results in `{run.folder}` are played against the server of the "
            f"study's engine. Run `python -m replication official` for this study, which starts it, or name a server that "
            f"is up."
        )
    return run.endpoint


@contextlib.contextmanager
def openai(run: HarnessRun, options: Launch) -> Iterator[Mapping[str, str]]:
    """Serve the model where clients of OpenAI look for it; the address is in no command, which must not change."""
    with model(run, options) as url:
        yield {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "EMPTY"}


@contextlib.contextmanager
def hosted_vllm(run: HarnessRun, options: Launch) -> Iterator[Mapping[str, str]]:
    """Serve the model where litellm's provider `hosted_vllm` looks for it; no command has the address, which changes."""
    with model(run, options) as url:
        yield {
            "HOSTED_VLLM_API_BASE": url, "HOSTED_VLLM_API_KEY": "EMPTY", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }  # fmt: skip


def wire_of(folder: Path) -> Wire:
    """Return what the tool sent so far in a run's folder."""
    path = folder / WIRE
    return Wire(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else Wire()


def served(run: HarnessRun, options: Launch) -> str:
    """Return the name by which the tool calls the model; that of the server may be another, which the proxy knows."""
    return options.served or run.model.path


def plain(name: str) -> str:
    """Return the name of a model without slashes, which the proxy takes as well: some tools split it there."""
    return name.replace("/", "--")


def checkout(options: Launch, name: str) -> Path:
    """Return the folder of the tool's repository; HarnessError if none is named."""
    if options.checkout is None:
        raise HarnessError(f"{name} runs from its repository: name a clone of it in `options.launch.checkout`.")
    return Path(options.checkout).absolute()
