#!/usr/bin/env bash
# The GPU part of the speed figures, in one command of at most nine minutes: first the tests that need a GPU, then the two
# figures of benchmarks/gpu.py. Run it again to continue where it stopped: what is in the results file is not measured again.
#
#   benchmarks/gpu.sh [FILE]        FILE: where the results go (default: figures/bench/gpu.json)
#
# Exit codes: 0 all is measured, 3 something is left, 2 there is no GPU, 1 a test failed.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 MULNB_HOME=${MULNB_HOME:-$root}
file=${1:-figures/bench/gpu.json}
mkdir -p -- "$(dirname -- "$file")"

"$python" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 2)' || {
    printf 'gpu.sh: no CUDA device here\n' >&2
    exit 2
}
if [ ! -e "$file.tested" ]; then # with the results, so that a second call goes straight on
    timeout 120 "$python" -m pytest -q -m gpu tests/fast/test_graphs.py -p no:cacheprovider
    touch -- "$file.tested"
fi
status=0
timeout 400 "$python" -m benchmarks.gpu --out "$file" --seconds 330 || status=$?
[ $status -ne 124 ] || status=3
exit $status
