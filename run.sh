#!/usr/bin/env bash
# tonestack: the contents page. The first call sets up .venv; every call then runs stages.
#
#   ./run.sh                              the whole pipeline on the embedded demo competition
#   ./run.sh all data=NAME [root=DIR]     the whole pipeline on a competition
#   ./run.sh fold=0..4 model=a,b          train only
#   ./run.sh STAGE key=value ...          one stage, and what it needs before it:
#
#     init         csv=FILE audio=FOLDER: a config for them   configs/data/
#     download     the competition's files, checked           input/
#     prepare      decode every clip once, store features     cache/
#     make_folds   split the training clips                   folds/
#     clean_labels decide on unverified labels                folds/NAME/METHOD.csv
#     pseudo_label rounds of pseudo-labels                    folds/NAME/pseudoN.csv
#     student      rounds of soft labels for a pool           folds/NAME/studentN.csv
#     train        K folds x models                           oof/
#     blend        weighted means of the prediction tables    submissions/NAME/
#     stack        LightGBM and logistic regression on them   submissions/NAME/
#     submit       choose by nested CV, check, write          submissions/NAME/submission.csv
#     score        Public and Private scores of everything    oof/NAME/leaderboard.csv
#     repeat       the same on other folds, with intervals    reports/NAME/repeats.csv
#     report       pages with charts and playable clips       reports/NAME/index.html
#     corrections  take in a person's labels: merge=FILE      folds/NAME/corrections.csv
#     shift        train against test clips; duplicates       reports/NAME/shift/
#     predict      FILE|DIR...: tags for any recordings
#     export       model=NAME: ONNX, wave in, tags out        exports/NAME/
#     bundle       an offline code competition's folder       bundles/NAME/
#     plan         stages that would run, why, and how long
#     leaderboard  the table of all experiments
#     tune         search a model's settings: trials=N        reports/NAME/tune/
#     embed        embeddings of all clips, per fold          reports/NAME/embeddings/
#     verify       a.wav b.wav: the same speaker or not
#     voices       write a set of synthesised voices          input/
#     match        CLIP.wav enrol=DIR: the speaker of a clip  reports/NAME/match.csv
#     study        name=STUDY: published tables, rerun        reports/NAME/
#     models       every model config with its size
#     weights      pretrained weights: where to get them, whether they are here; FILE.pth is converted
#     settings     write the reference of all settings        docs/settings.md
#     bench        measured ratios against the usual way      bench/results/
#     docs         these pages as a site, offline             site/
#     test         lint, types and tests (long=true: the long ones too)
#
# --help after any stage lists its words. Every stage is also a script: .venv/bin/python src/STAGE.py key=value
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="$here/.venv"
unset PYTHONPATH PYTHONHOME PYTHONSAFEPATH # an empty part of PYTHONPATH is the current folder: a queue.py among the data would be run
python="$venv/bin/python"

usage() { sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p;}' "$here/run.sh"; }

refuse() { echo "tonestack: $1" >&2; exit 2; }

find_python() {
  local candidate
  for candidate in python3.13 python3.12 python3.11 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  refuse "Python 3.11, 3.12 or 3.13 is needed and none is on the PATH; install one and run this again"
}

set_up() { # the mark is written last, so that a set-up that was cut off is done again
  local base
  base="$(find_python)"
  echo "tonestack: setting up .venv from requirements.lock (once, a few minutes)" >&2
  "$base" -m venv --clear "$venv"
  install_lock requirements.lock
  compile_once
}

compile_once() { # librosa compiles parts of itself when they are first imported and keeps them beside its files; two
  # processes that do so at once can leave a mix of both behind, which crashes ever after
  "$python" -c 'import librosa; librosa.pyin, librosa.cqt, librosa.sequence.viterbi, librosa.util.localmax' || true
}

set_up_tests() { # the developers' lock holds all of the users' and the tools
  echo "tonestack: adding the tools of requirements-dev.lock to .venv (once)" >&2
  install_lock requirements-dev.lock
}

install_lock() { # LOCK: by uv, several times as fast as pip, else by pip; wheels alone, hashes checked by both
  local lock="$here/$1" words=(--only-binary=:all: --require-hashes)
  if [ "${TONESTACK_GPU:-yes}" = no ]; then # torch links with all other CUDA libraries, also where it uses none
    awk '/^[^ ]/ { left_out = /^(triton|nvidia-cusolver|cuda-bindings|cuda-pathfinder)==/ } !left_out' "$lock" >"$venv/lock"
    lock="$venv/lock"
    words+=(--no-deps)
  fi
  export PIP_USER=0 # packages go into .venv, whatever the settings of pip say
  unset PIP_TARGET PIP_PREFIX PIP_ROOT UV_TARGET UV_PREFIX
  install_by_uv || "$python" -m pip install --quiet --disable-pip-version-check "${words[@]}" -r "$lock"
  cp "$here/$1" "$(mark "$1")"
}

install_by_uv() {
  local uv words=("${words[@]}")
  uv="$(find_uv)" || return 1
  # where nothing may be compiled at first use, all of it now, or every process would do it again
  [ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || words+=(--compile-bytecode)
  "$uv" pip install --quiet --python "$python" "${words[@]}" -r "$lock" && return
  echo "tonestack: uv could not install the lock; pip goes on" >&2
  return 1
}

find_uv() { # TONESTACK_UV=no does without
  [ "${TONESTACK_UV:-yes}" = yes ] || return 1
  command -v uv && return
  [ -x "$venv/bin/uv" ] || "$python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: \
    --require-hashes -r "$here/requirements-uv.lock" >&2 || return 1
  echo "$venv/bin/uv"
}

mark() { # LOCK: the file that holds the lock once it is installed: .ready or .ready-dev
  local name="${1%.lock}"
  echo "$venv/.ready${name#requirements}"
}

ready() { cmp -s "$here/$1" "$(mark "$1")"; }

for word in "${1:-}"; do
  case "$word" in -h | --help | help) usage; exit 0 ;; esac
done
ready requirements.lock || set_up

case "${1:-all}" in
  test)
    shift
    cd "$here"
    ready requirements-dev.lock || set_up_tests
    "$python" -m ruff check . && "$python" -m ruff format --check . && "$python" -m mypy
    exec "$python" tests/run_tests.py "$@"
    ;;
  bench) shift; exec "$python" "$here/bench/run_bench.py" "$@" ;;
  docs) # not --quiet, which would hide the warnings from --strict as well
    cd "$here"
    ready requirements-dev.lock || set_up_tests
    NO_MKDOCS_2_WARNING=1 exec "$python" -m mkdocs build --strict --site-dir "$here/site"
    ;;
  *=*) exec "$python" "$here/src/train.py" "$@" ;;
  *)
    stage="${1:-all}"
    [ $# -gt 0 ] && shift
    if [ ! -f "$here/src/$stage.py" ]; then
      refuse "no stage is called '$stage'; ./run.sh --help lists them"
    fi
    exec "$python" "$here/src/$stage.py" "$@"
    ;;
esac
