# Sourced by demo.sh and test.sh. `install_plugin [EXTRAS]` leaves the plugin and the named extras (such as "test")
# installed in .venv of this repository and sets VENV_PYTHON. Nothing is done when that has been done before: a stamp
# holds a checksum of the files that say what to install. PYTHON names the interpreter for a new .venv.

_repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
_venv="$_repository/.venv"

_find_venv_python() {
    VENV_PYTHON="$_venv/bin/python"
    [ -x "$VENV_PYTHON" ] || VENV_PYTHON="$_venv/Scripts/python.exe"
    [ -x "$VENV_PYTHON" ]
}

_check_version() {
    local version
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && return
    version="$("$1" --version 2>/dev/null)" || version='not to be found'
    echo "Python 3.10 to 3.14 is needed, but $1 is $version." >&2
    echo "Name another one, and remove $_venv if it exists: PYTHON=python3.11 bash $0" >&2
    return 1
}

_make_venv() {
    local python="${PYTHON:-python3}"
    _check_version "$python" || return 1
    echo "Creating $_venv"
    "$python" -m venv "$_venv" && return
    echo "'$python -m venv' failed: install its venv module (Debian, Ubuntu: apt install python3-venv) or set PYTHON." >&2
    return 1
}

_pip() {
    "$VENV_PYTHON" -m pip install --disable-pip-version-check --constraint "$_repository/scripts/constraints.txt" "$@"
}

_install_basicsr() {  # pip cannot on Python 3.13 and later, and downloads a second PyTorch for it on the others
    (cd "$_repository" && "$VENV_PYTHON" -m mulsr_plugin.install_basicsr --constraint scripts/constraints.txt)
}

_warn_of_full_disk() {
    local free
    free="$(df -Pk "$_venv" | awk 'NR == 2 { print int($4 / 1048576) }')"
    [ "${free:-10}" -ge 10 ] && return
    echo "Only $free GB are free on the disk of $_venv; PyTorch for NVIDIA GPUs needs 10 GB to install and 6 GB after." >&2
    echo "If pip ends with 'No space left on device', free some, or give pip another disk: TMPDIR=/other/disk bash $0" >&2
}

install_plugin() {
    local extras="${1:-}" stamp
    { _find_venv_python && "$VENV_PYTHON" -m pip --version >/dev/null 2>&1; } || { _make_venv && _find_venv_python; } || return 1
    _check_version "$VENV_PYTHON" || return 1
    # The folder belongs in it: a moved clone leaves an editable install that points nowhere.
    stamp="$_venv/.installed-${extras:-base}-$(echo "$_repository" | cat - "$_repository"/{pyproject.toml,setup.py,scripts/constraints.txt} | cksum | cut -d ' ' -f 1)"
    [ -e "$stamp" ] && return
    echo "Installing into $_venv (the first time downloads PyTorch, which takes minutes)"
    _warn_of_full_disk
    _pip 'pip>=21.3' && _install_basicsr && _pip --editable "$_repository${extras:+[$extras]}" || return 1
    rm -f "$_venv/.installed-${extras:-base}-"*
    touch "$stamp"
}
