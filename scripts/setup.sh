# Sourced by the other scripts: makes .venv, installs the project with the extras asked for, and
# does so again only when pyproject.toml or the constraints have changed.
#   source scripts/setup.sh EXTRAS          for example: dev, or "" for none
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
extras="${1:-}"
venv="$root/.venv"

find_python() {
    for name in python3.13 python3.12 python3.11 python3; do
        if command -v "$name" >/dev/null &&
            "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "semcentres needs Python 3.11 to 3.13 with venv; install one (Debian: apt-get install python3 python3-venv)" >&2
    exit 2
}

if [ ! -x "$venv/bin/python" ]; then
    python="$(find_python)"
    echo "making $venv with $("$python" --version)" >&2
    "$python" -m venv "$venv"
fi
stamp="$venv/.installed-${extras:-plain}"
wanted="$(cat "$root/pyproject.toml" "$root/scripts/constraints.txt" | sha256sum)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing semcentres into $venv; the first time takes some minutes" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$root/scripts/constraints.txt" --editable "$root${extras:+[$extras]}"
    echo "$wanted" >"$stamp"
fi
export PATH="$venv/bin:$PATH"

# Installs a Debian package if one of its files is missing and this is root on a Debian.
#   debian FILE PACKAGE
debian() {
    if [ ! -e "$1" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing Debian's package $2" >&2
        { apt-get update -qq && apt-get install -y -qq "$2"; } >/dev/null ||
            echo "that failed; what needs $2 will say so" >&2
    fi
}
