#!/usr/bin/env bash
# A slice of a paper profile on a machine that is lent for some minutes, in one command of at most nine and a half: take up the packs
# of earlier sessions, work, pack what is new. Called again it goes on, on this machine or on another.
#
#   benchmarks/slices.sh PROFILE [PACKS [OUT [OPTION]...]]
#
#   PACKS   folder with the packs of earlier sessions; it may be empty or missing (default: packs)
#   OUT     where new packs go (default: PACKS)
#   OPTION  of `mulnb run` and `mulnb pack`, such as --set pool.group=5; the same in every session
#
# Environment: SLICE how long to work (default 7m), LIMIT after how many seconds a slice is stopped that its estimate misled
# (default 480), IMAGES a tar file of the profile's images (default: what lies in data/PROFILE, or dataset.root), PYTHON.
# Exit codes: those of `mulnb run`; what was finished is packed in any case.
set -euo pipefail

[ $# -ge 1 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
profile=$1
packs=$(realpath -m -- "${2:-packs}")
out=$(realpath -m -- "${3:-$packs}")
shift $(($# < 3 ? $# : 3))

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 MULNB_HOME=${MULNB_HOME:-$root}
mulnb=("$python" -P -m mulnb)

if [ -n "${IMAGES:-}" ] && [ ! -e "$MULNB_HOME/data/$profile" ]; then
    mkdir -p -- "$MULNB_HOME/data/$profile"
    tar -xf "$IMAGES" -C "$MULNB_HOME/data/$profile"
fi

all=$(mktemp -d) # the packs of earlier sessions, beside which only what is new is packed
trap 'rm -rf -- "$all"' EXIT
mkdir -p -- "$packs" "$out"
earlier=("$packs/"*.zip)
if [ -e "${earlier[0]}" ]; then
    cp -- "${earlier[@]}" "$all"
    "${mulnb[@]}" unpack "$all"
fi

status=0
timeout --signal INT --kill-after 10 "${LIMIT:-480}" \
    "${mulnb[@]}" run --profile "$profile" --slice "${SLICE:-7m}" "$@" || status=$?

timeout 80 "${mulnb[@]}" pack "$all" --profile "$profile" "$@"
for file in "$all/"*.zip; do # facts come before margins, which are large: where little may be brought back, they are first
    [ ! -e "$file" ] || [ -e "$packs/${file##*/}" ] || cp -- "$file" "$out"
done
exit $status
