# shellcheck shell=bash
# Sourced by demo.sh and test.sh: one virtual environment in the checkout, exact versions.
#
#   setup_venv "dev,train,spark"     the extras of pyproject.toml that are wanted, "" for none
#
# Quick the second time: `.venv/.deid-setup` records the checkout's path, a hash of pyproject.toml
# and constraints.txt, and the extras that were installed. DEID_PYTHON names an interpreter to use.

deid_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

say() { printf '==> %s\n' "$*"; }

# Run a named step and print how long it took; its failure is the script's failure.
timed_step() {
  local title="$1" started=$SECONDS
  shift
  say "$title"
  "$@" || { printf 'FAILED: %s\n' "$title" >&2; return 1; }
  say "$title: done in $((SECONDS - started)) s"
}

find_python() {
  local candidate
  for candidate in ${DEID_PYTHON:+"$DEID_PYTHON"} python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
      2>/dev/null; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  printf 'Python 3.11, 3.12 or 3.13 is needed (python3 on PATH, or DEID_PYTHON=/path/to/python).\n' >&2
  return 1
}

# True when the interpreter and its pip start: a copy that was interrupted half-way does not count.
venv_works() {
  "$deid_root/.venv/bin/python" -c 'import pip._internal.cli.main' >/dev/null 2>&1
}

make_venv() {
  local python
  python="$(find_python)" || return 1
  rm -rf "$deid_root/.venv"
  "$python" -m venv "$deid_root/.venv" || {
    printf 'Making .venv failed. On Debian and Ubuntu: apt install python3-venv.\n' >&2
    rm -rf "$deid_root/.venv"
    return 1
  }
}

pin_of() { sed -n "s/^$1==//p" "$deid_root/infra/constraints.txt"; }

upgrade_pip() {
  local wanted
  wanted="$(pin_of pip)"
  case "$("$deid_root/.venv/bin/python" -m pip --version)" in
    "pip $wanted "*) return 0 ;;
  esac
  "$deid_root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check "pip==$wanted"
}

install_project() {
  local extras="$1" target="."
  [ -z "$extras" ] || target=".[$extras]"
  # Build tools are held to the same versions (relative: pip splits this variable at spaces).
  (
    cd "$deid_root" || exit 1
    export PYTHONWARNINGS=ignore PIP_BUILD_CONSTRAINT=infra/constraints.txt
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --progress-bar off \
      -c infra/constraints.txt -e "$target"
  )
}

inputs_hash() {
  cat "$deid_root/pyproject.toml" "$deid_root/infra/constraints.txt" |
    "$deid_root/.venv/bin/python" -c \
      'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

# True when every extra of the comma-separated list $1 is in the comma-separated list $2.
extras_within() {
  local extra
  for extra in ${1//,/ }; do
    case ",$2," in *",$extra,"*) ;; *) return 1 ;; esac
  done
}

# Extras of both lists, each once: what is installed already stays consistent with the constraints.
extras_union() {
  printf '%s\n' ${1//,/ } ${2//,/ } | sort -u | sed '/^$/d' | paste -sd, -
}

setup_venv() {
  local extras="$1" stamp="$deid_root/.venv/.deid-setup" path="" hash="" installed="" new_hash
  if [ -f "$stamp" ]; then
    { read -r path; read -r hash; read -r installed; } <"$stamp" || true
  fi
  if [ -n "$path" ] && [ "$path" != "$deid_root" ]; then
    say "The checkout has moved from $path: making .venv again"
    rm -rf "$deid_root/.venv"
    installed=""
  fi
  if ! venv_works; then
    timed_step "Making the virtual environment .venv" make_venv || return 1
    installed=""
    hash=""
  fi
  new_hash="$(inputs_hash)" || return 1
  if [ "$hash" = "$new_hash" ] && extras_within "$extras" "$installed"; then
    say "The virtual environment is up to date (extras: ${installed:-none})"
    return 0
  fi
  rm -f "$stamp"
  extras="$(extras_union "$extras" "$installed")"
  timed_step "Upgrading pip to $(pin_of pip)" upgrade_pip || return 1
  timed_step "Installing deid-lake${extras:+ with extras $extras}, versions as in infra/constraints.txt" \
    install_project "$extras" || return 1
  printf '%s\n%s\n%s\n' "$deid_root" "$new_hash" "$extras" >"$stamp"
}
