#!/bin/sh
# train_speed.py with memory as the workers of a run have it: blocks once taken are kept.
set -eu
export MALLOC_MMAP_THRESHOLD_=1099511627776 MALLOC_TRIM_THRESHOLD_=1099511627776
exec python "$(dirname "$0")/train_speed.py" "$@"
