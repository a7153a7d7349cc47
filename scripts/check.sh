#!/usr/bin/env bash
# Everything that must hold before a change lands: style, types, imports, then the tests.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev
cd "$root"
ruff check .
ruff format --check .
mypy
lint-imports
exec bash scripts/test.sh "$@"
