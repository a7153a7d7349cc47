#!/usr/bin/env bash
# Set up with the peers, then run the benchmarks; arguments go to scripts/bench.py.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" bench
debian /usr/share/datasets/fashion-mnist dataset-fashion-mnist
debian /usr/share/wordnet wordnet-base
exec env HF_HUB_OFFLINE=1 python "$root/scripts/bench.py" "$@"
