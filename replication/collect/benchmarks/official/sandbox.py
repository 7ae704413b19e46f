"""Commands that evaluate a model's output: no network, a read-only file system except one folder, few variables.

With bubblewrap where it is installed, else with the namespaces of the kernel through `unshare`. What a command can still
do: read files that the user can read, fill the folder that it may write, and use the processor and memory.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from replication.collect.benchmarks.official import sandbox_inside
from replication.errors import HarnessError

KINDS = ("auto", "bwrap", "unshare", "none")
PASSED = ("LANG", "LC_ALL", "TZ")
"""Variables that a command gets from this process, besides those that its caller states."""


def choose(kind: str, key: str = "options.sandbox") -> str:
    """Return the sandbox to use; HarnessError if it does not work here. `none` is an explicit choice of the user.

    key : position of the setting in conf/, for messages.
    """
    if kind == "none":
        return kind
    for candidate in ("bwrap", "unshare") if kind == "auto" else (kind,):
        if _works(candidate):
            return candidate
    raise HarnessError(
        f"`{key}` is {kind!r}, and no sandbox works here: install bubblewrap, or allow user namespaces for this user. The "
        f"harness evaluates text that a model wrote as Python code; `{key}: none` runs it without a sandbox, for example in "
        f"a container of your own."
    )


@functools.cache
def _works(kind: str) -> bool:
    if shutil.which(kind) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        test = wrapped(kind, ["touch", f"{folder}/written"], Path(folder))
        done = subprocess.run(test, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return done.returncode == 0 and Path(folder, "written").exists()


def wrapped(kind: str, argv: Sequence[str], writable: Path) -> list[str]:
    """Return the command inside the sandbox, which can write to one folder and reach Unix sockets, but no network."""
    folder = str(writable.absolute())
    if kind == "none":
        return list(argv)
    if kind == "bwrap":
        return [
            "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--bind", folder, folder, "--unshare-all",
            "--die-with-parent", "--new-session", "--chdir", folder, "--", *argv,
        ]  # fmt: skip
    return [
        "unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--",
        sys.executable, "-I", sandbox_inside.__file__, folder, *argv,
    ]  # fmt: skip


def environment(folder: Path, values: Mapping[str, str]) -> dict[str, str]:
    """Return all variables of a command that works in a folder: nothing else of this process, so no keys."""
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    own = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return passed | own | dict(values)


def run(kind: str, argv: Sequence[str], folder: Path, values: Mapping[str, str], log: Path, held: int) -> int:
    """Run a command in a folder as a fresh process, append its output to a log, and return its exit code.

    held : open file descriptor of the folder's lock. The command inherits it, so that the lock lasts while it runs, even
    if this process was killed.
    """
    (folder / "tmp").mkdir(exist_ok=True)
    env = environment((folder / "tmp").absolute(), values)
    with log.open("ab") as file:
        process = subprocess.Popen(
            wrapped(kind, argv, folder), cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            pass_fds=(held,), start_new_session=True,
        )  # fmt: skip
    try:
        return process.wait()
    finally:
        if process.poll() is None:  # interrupted; unshare and bwrap take everything inside with them
            process.kill()
            process.wait()
