#!/usr/bin/env bash
# Sets up .venv, then runs every check: lint, format, types, tests. Exit 0 only when all pass.
# Arguments are handed to pytest (for example: infra/test.sh tests/schemas -k columns).
set -uo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=infra/setup.sh
source infra/setup.sh

started=$SECONDS
setup_venv "dev,train,spark" || exit 1
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # two test workers share the cores

failed=()
check() {
  local name="$1"
  shift
  timed_step "$name" "$@" || failed+=("$name")
}
bin=.venv/bin
check "ruff check" $bin/ruff check .
check "ruff format" $bin/ruff format --check .
check "mypy" $bin/mypy
# The groups (see tests/conftest.py) keep all tests that start servers or clusters on one worker.
say "pytest, after $((SECONDS - started)) s"
$bin/python -m pytest -n "${DEID_TEST_WORKERS:-2}" --dist loadgroup -m "not bench" "$@" ||
  failed+=("pytest")

if [ "${#failed[@]}" -gt 0 ]; then
  printf 'FAILED after %s s: %s\n' "$((SECONDS - started))" "${failed[*]}" >&2
  exit 1
fi
say "All checks passed in $((SECONDS - started)) s"
