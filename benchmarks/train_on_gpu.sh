#!/bin/sh
# train_on_gpu.py, for a machine with CUDA; needs the `train` extra with a CUDA build of torch.
# About 6 minutes on an H200, most of it compiling. torchtitan==0.2.2 takes part if installed.
set -eu
exec python "$(dirname "$0")/train_on_gpu.py" --apart "$@"
