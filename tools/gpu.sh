#!/usr/bin/env bash
# What only a GPU can prove, in one run: bash tools/gpu.sh FOLDER [part ...], each part with its own limit.
set -u
out=$1
shift
declare -A limit=([device]=75 [throughput]=140)
for part in "${@:-device throughput}"; do
    timeout "${limit[$part]}" python3 experiments/gpu.py "$part" "$out" || echo "$part: rc $?"
done
