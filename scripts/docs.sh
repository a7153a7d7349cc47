#!/usr/bin/env bash
# Set up, then build the documentation into build/docs; arguments go to sphinx-build.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" docs
cd "$root"
python -m sphinx --fail-on-warning --keep-going "$@" docs build/docs
echo "build/docs/index.html"
