#!/usr/bin/env bash
# Regenerate every figure and table: set up the environment once, then run the notebooks. `--help` says more.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: ./run_all.sh [options]           run the notebooks (06, 07, 09 when named): figures and tables
       ./run_all.sh --lab [options]     open the threshold explorer (a copy of notebook 06) in JupyterLab
       ./run_all.sh --site [--out DIR]  build a static web site from the published results
       ./run_all.sh --test              run the linter, the tests and the committed notebooks

  --profile NAME        a profile's name (default: digits), or the path of a YAML file
  --only 02[,03]        run these notebooks only
  --set key.sub=value   change one number of the profile; repeatable
  --workers N           tasks that run at once (default: one per core; one on a GPU)
  --backend ray         run tasks on a Ray cluster; also: processes (the default), serial
  --address HOST:PORT   of that cluster's head; without it, Ray uses this machine's cores
  --slice TIME          no notebooks: work on the profile for so long at most (90s, 9m, 1h30m), the most valuable first; the
                        next slice goes on from there
  --pack FOLDER         with --slice: then write what figures need, without weights, into files of at most 14 MB
  --publish             write to figures/, which is in git, instead of results/
  --save-notebooks      after a run with the default options, store the outputs in notebooks/; implies --publish
  --lab [OPTION]…       JupyterLab on the explorer; --profile and --set choose what it shows, other options go to
                        jupyter lab, such as --no-browser
  --site                one folder of pages that open from disk: notebooks, tables, figures (default: artifacts/site)
  --cpu                 set up with torch's build without CUDA, about 2 instead of 6.6 GB; it stays so until .venv is
                        removed. That build is on PyTorch's own index only, and requirements.lock has no hashes of it. Where
                        that index cannot be reached: the usual build, less the CUDA packages it can do without (5.2 GB)
  --test                check the project instead of running it
  --help                this text

The first call makes .venv from requirements.lock (6.6 GB). Results go to results/<profile>/, executed notebooks to
artifacts/executed/<profile>/; git ignores both. What was computed once is kept in artifacts/ and not computed again.
TEXT
}

fail() {
    printf 'run_all.sh: %s\n' "$2" >&2
    exit "$1"
}

mode=notebooks
options=()
cpu=
while [ $# -gt 0 ]; do
    case $1 in
        --profile | --only | --set | --workers | --backend | --address | --slice | --pack)
            [ $# -ge 2 ] || fail 2 "$1 needs a value; --help shows how"
            options+=("$1=$2") # one word, so that a value may begin with a dash
            shift
            ;;
        --profile=* | --only=* | --set=* | --workers=* | --backend=* | --address=* | --slice=* | --pack=* | --publish | --save-notebooks) options+=("$1") ;;
        --cpu) cpu=cpu ;;
        --test) mode='test' ;;
        --lab | --site) mode=${1#--} && shift && rest=("$@") && break ;;
        -h | --help) usage && exit 0 ;;
        *) fail 2 "unknown option '$1'; --help lists them" ;;
    esac
    shift
done
case $mode in lab | site) [ ${#options[@]} -eq 0 ] || fail 2 "--$mode comes first: its options follow it" ;; esac
[ "$mode" = notebooks ] || [ ${#options[@]} -eq 0 ] || fail 2 "--$mode takes no other option"

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
venv=$root/.venv
python=$venv/bin/python
stamp=$venv/.set-up # a hash of what the environment was made from; written last, so that an interrupted set-up has none

find_python() { # 3.11 or later: $PYTHON if it is set, else the first one found
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        elif [ -n "${PYTHON:-}" ]; then
            fail 2 "PYTHON=$PYTHON is not a Python 3.11 or later"
        fi
    done
    fail 2 "Python 3.11 or later is needed; python3 is $(python3 --version 2>/dev/null || echo missing)"
}

make_venv() {
    local base
    base=$(find_python)
    # Debian's python3 has no ensurepip unless python3-venv is installed; then the system's pip installs into the environment
    "$base" -m venv --clear "$venv" >/dev/null 2>&1 || "$base" -m venv --clear --without-pip "$venv"
    command -v uv >/dev/null || "$python" -m pip install --quiet uv 2>/dev/null || "$base" -m pip --python "$python" install --quiet uv
}

set_up() {
    echo "Setting up $venv (once; about a minute where the packages are near)"
    # An environment's scripts contain its path: one that was moved or not finished is made again.
    [ "$(head -n 1 "$stamp" 2>/dev/null)" = "$root" ] || make_venv
    rm -f "$stamp"
    uv=$(command -v uv || echo "$venv/bin/uv")
    quiet=(--quiet)
    [ ! -t 2 ] || quiet=() # on a terminal, show the progress of the download
    (
        cd "$root"
        if [ -n "$cpu" ]; then
            install_without_cuda
        else
            uv_pip sync --require-hashes requirements.lock
        fi
        uv_pip install --no-deps --no-build-isolation --editable . # setuptools, which builds it, is in the lock
    )
    printf '%s\n' "$wanted" >"$stamp"
}

uv_pip() { # uv_pip sync|install OPTION…
    local command=$1
    shift
    "$uv" pip "$command" ${quiet[@]+"${quiet[@]}"} --python "$python" "$@"
}

install_without_cuda() {
    local rest=$venv/cpu.lock pins
    lock_without 'torch|torchvision|triton|nvidia-.*|cuda-.*' >"$rest"
    uv_pip sync --require-hashes "$rest"

    pins=$(awk '/^(torch|torchvision)==/ { print $1 }' requirements.lock) # uv knows where the build without CUDA is
    # shellcheck disable=SC2086
    uv_pip install --torch-backend cpu --no-deps $pins 2>/dev/null && return

    echo "PyTorch's index cannot be reached: taking torch's usual build, less the CUDA packages it can do without"
    # it loads the other CUDA packages when it is imported, also where there is no GPU
    lock_without 'triton|nvidia-cusolver|nvidia-cuda-cccl|nvidia-nvtx|cuda-bindings|cuda-pathfinder|cuda-toolkit' >"$rest"
    uv_pip sync --require-hashes "$rest"
}

lock_without() { # requirements.lock without the packages whose names match
    awk -v names="^($1)==" '/^[^ #]/ { drop = $0 ~ names } !drop' requirements.lock
}

hashes() { # macOS has shasum instead of sha256sum
    if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi
}

wanted=$(printf '%s\n' "$root" && cd "$root" && hashes pyproject.toml requirements.lock)
[ "$(tail -n 1 "$stamp" 2>/dev/null)" != cpu ] || cpu=cpu # as it was set up
[ -z "$cpu" ] || wanted=$(printf '%s\ncpu' "$wanted")
for code in "130 INT" "143 TERM" "129 HUP"; do
    trap "fail ${code% *} 'interrupted; the next call begins the set-up again'" "${code#* }"
done
[ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] || set_up
trap - INT TERM HUP

unset PYTHONDONTWRITEBYTECODE    # without compiled modules every kernel would start ten seconds later
export JUPYTER_PREFER_ENV_PATH=1 # the kernel named python3 is this environment's, whatever the user has installed

for option in ${options[@]+"${options[@]}"}; do
    case $option in --slice=*) mode=slice ;; esac
done
case $mode in
    slice) exec "$python" -P -m mulnb run "${options[@]}" ;;
    notebooks) exec "$python" -P -m mulnb.notebooks ${options[@]+"${options[@]}"} ;; # bash 3.2, as on macOS: an empty array counts as unset
    lab) exec "$python" -P -m mulnb.notebooks.lab ${rest[@]+"${rest[@]}"} ;;
    site) exec "$python" -P -m mulnb.site ${rest[@]+"${rest[@]}"} ;;
    test)
        cd "$root"
        "$python" -m ruff check
        export MULNB_PROGRESS='' MULNB_FIGURES="${MULNB_HOME:-$root}/artifacts/test-figures"
        # one call, so that its last line counts everything; a test that hangs ends its process, and another one goes on
        exec "$python" -m pytest --numprocesses auto --maxprocesses 4 --no-loadscope-reorder --durations=15 \
            --timeout 900 --timeout-method thread --nbval-lax --nbval-current-env --nbval-cell-timeout 900 tests notebooks/0*.ipynb
        ;;
esac
