#!/usr/bin/env bash
# From class names to a trained encoder, a FAISS index and a retrieval report, on Fashion-MNIST.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
if [ ! -d /usr/share/datasets/fashion-mnist ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Debian's package dataset-fashion-mnist" >&2
    { apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist; } >/dev/null ||
        echo "that failed; torchvision will try to download the images" >&2
fi
exec python scripts/quickstart.py "$@"
