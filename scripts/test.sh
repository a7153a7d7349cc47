#!/usr/bin/env bash
# Set up, then run the tests with their doctests; arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" test
cd "$root"
# Tests of what is missing are left out, and say so.
debian /usr/share/datasets/fashion-mnist dataset-fashion-mnist
debian /usr/share/wordnet wordnet-base
debian /usr/bin/chromium chromium
# Each worker has a thread of its own; most tests wait for a process or for the disk.
exec env HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 python -m pytest -n logical --maxprocesses 4 \
    --dist worksteal "$@"
