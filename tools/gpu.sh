#!/usr/bin/env bash
# What only a GPU can prove, in one run: bash tools/gpu.sh FOLDER [part ...], each part with its own limit in seconds.
# The speedrun takes what is left of nine minutes. CIFAR-10 is looked for in $SSLBOOK_DATA. Let nothing else run on the
# machine's cores: tests beside it once made a SimCLR epoch of 1.6 s take 25 s, and the head to head had no time left.
set -u
out=$1
shift
[ $# -gt 0 ] || set -- device throughput head-to-head speedrun
declare -A limit=([device]=75 [throughput]=60 [head-to-head]=260 [speedrun]=330)
for part in "$@"; do
    left=$((${LEASE:-540} - SECONDS))
    [ "$part" = speedrun ] && export SECONDS_LEFT=$((left > 300 ? 260 : left - 35))
    timeout "${limit[$part]}" python3 -m experiments.gpu "$part" "$out" || echo "$part: rc $?"
    echo "$part: $SECONDS s so far"
done
