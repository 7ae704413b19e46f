"""Own virtual environments of official harnesses, installed once from a lock file of this package.

They lie in `results/harnesses/NAME-VERSION`, or in the folder that the variable REPLICATION_HARNESSES names.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from replication.errors import HarnessError
from replication.masking import mask_text

LOCKS = Path(__file__).resolve().parents[4] / "requirements" / "harness"
VARIABLE = "REPLICATION_HARNESSES"
MARKER = ".installed"
"""In the environment: the hash of the lock file, written last. Without it the environment is broken and made again."""
PASSED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
)  # fmt: skip
"""Variables that an installation sees besides those of pip and of proxies."""
TAIL = 1500
"""Characters of a log that an error message quotes."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An environment: its lock file NAME.lock, and the module that must be importable in it."""

    name: str
    version: str
    module: str
    needs_python: tuple[int, int] | None = None
    """Version of Python that the packages need; None: the one of this package."""
    clone: str = ""
    """Commands that fetch the tool itself where it is in no registry of packages: the environment has what it imports."""

    @property
    def lock(self) -> Path:
        """File of all packages with their versions."""
        return LOCKS / f"{self.name}.lock"

    @property
    def folder(self) -> Path:
        """Place of the environment."""
        return Path(os.environ.get(VARIABLE) or "results/harnesses").absolute() / f"{self.name}-{self.version}"

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.folder / "bin" / "python"


def _is_for_pip(name: str) -> bool:
    # Set-up scripts of packages run during an installation: they see no key. Those of pip name the mirror of a machine
    # without network.
    return name in PASSED or name.startswith("PIP_") or name.endswith("_PROXY")


def is_installed(recipe: Recipe) -> bool:
    """Tell whether the environment is complete and was made from the present lock file."""
    marker = recipe.folder / MARKER
    return marker.is_file() and recipe.python.exists() and marker.read_text(encoding="utf-8") == lock_hash(recipe)


def lock_hash(recipe: Recipe) -> str:
    """Return the hash of the lock file, which identifies all code of a harness."""
    return hashlib.sha256(recipe.lock.read_bytes()).hexdigest()


def ensure(recipe: Recipe) -> Path:
    """Install the environment where it is missing or broken, and return its interpreter.

    Waits while another process installs it, as jobs of a sweep may at their start. HarnessError with the end of the log if a
    package cannot be installed.
    """
    if is_installed(recipe):
        return recipe.python
    guard = recipe.folder.parent / f".{recipe.folder.name}"
    guard.mkdir(parents=True, exist_ok=True)
    with in_turn(guard / "lock", f"another process installs {recipe.name}"):
        if not is_installed(recipe):
            _install(recipe, guard / "install.log")
    return recipe.python


@contextlib.contextmanager
def in_turn(path: Path, note: str) -> Iterator[None]:
    """Hold a lock of this machine, or of the machines that share its file system, while the block runs; waits for it.

    note : printed where another process holds it.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"harness: {note}; waiting until it ends", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _interpreter(recipe: Recipe) -> str:
    """Return the Python that makes the environment; HarnessError if the version that the packages need is not there."""
    if recipe.needs_python is None or recipe.needs_python == sys.version_info[:2]:
        return str(getattr(sys, "_base_executable", sys.executable))
    wanted = ".".join(map(str, recipe.needs_python))
    program = shutil.which(f"python{wanted}")
    # A launcher of that name may be there without the version that it launches.
    if program is None or subprocess.run([program, "-c", ""], stdin=subprocess.DEVNULL, capture_output=True).returncode:
        raise HarnessError(
            f"harness `{recipe.name}` needs Python {wanted}, and no `python{wanted}` on PATH runs. Install that version, or "
            f"name a virtual environment with the tool in `options.launch.venv`."
        )
    return program


def _install(recipe: Recipe, log: Path) -> None:
    print(f"harness: installing {recipe.name} {recipe.version} into `{recipe.folder}`, once", flush=True)
    shutil.rmtree(recipe.folder, ignore_errors=True)
    pip, quiet = [str(recipe.python), "-m", "pip", "install"], "--disable-pip-version-check"
    steps = [
        [_interpreter(recipe), "-m", "venv", str(recipe.folder)],
        [*pip, quiet, "--no-deps", "-r", str(recipe.lock)],
        [str(recipe.python), "-c", f"import {recipe.module}"],
    ]
    env = {name: value for name, value in os.environ.items() if _is_for_pip(name.upper())}
    log.write_bytes(b"")
    for step in steps:
        with log.open("ab") as file:
            code = subprocess.run(step, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode
        if code:
            tail = mask_text(log.read_text(encoding="utf-8", errors="replace")[-TAIL:])
            raise HarnessError(
                f"`{' '.join(step[:4])} ...` ended with code {code}, so harness `{recipe.name}` is not installed. Check the "
                f"network and the Python version, then run the same command again. `{log}` ends with:\n{tail}"
            )
    (recipe.folder / MARKER).write_text(lock_hash(recipe), encoding="utf-8")
