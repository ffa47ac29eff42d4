#!/bin/sh
# Measures the GPUs of this machine with `giga calibrate`, then plans with what was measured.
# For a machine with CUDA; needs the `train` extra with a CUDA build of torch.
# usage: sh benchmarks/calibrate_on_gpu.sh [RANKS]
set -eu
out=calibration-gpu.yaml
giga calibrate --device cuda ${1:+--ranks "$1"} --out "$out"
giga plan studies/grok-1-512.yaml --set "calibration=$out"
echo "published constants, for comparison:"
giga plan studies/grok-1-512.yaml
