#!/usr/bin/env bash
# From class names to a trained encoder, a FAISS index and a retrieval report, on Fashion-MNIST.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" "" # the words are not for it
cd "$root"
# Without it, torchvision downloads the images.
debian /usr/share/datasets/fashion-mnist dataset-fashion-mnist
exec python scripts/quickstart.py "$@"
