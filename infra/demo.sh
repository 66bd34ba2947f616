#!/usr/bin/env bash
# From a fresh clone to anonymized clips, tables and a report: sets up .venv, fetches the weights,
# builds a small fleet with generated drives and runs the nightly job on it with local Ray.
# Arguments are handed to `deid demo` (for example: infra/demo.sh --out elsewhere).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=infra/setup.sh
source infra/setup.sh

started=$SECONDS
setup_venv ""
timed_step "Fetching and checking the model weights" .venv/bin/deid weights pull
if [ "$#" -eq 0 ]; then
  set -- --out demo-output
fi
say "Running the demo: deid demo --show-originals $*"
.venv/bin/deid demo --show-originals "$@"
say "Finished after $((SECONDS - started)) s"
