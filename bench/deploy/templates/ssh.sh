#!/usr/bin/env bash
# Hengsuan over ssh: starts Ray on the hosts of a list, runs the suite @{suite_name}, ends Ray.
#
#   ./THIS_FILE HOST...        the first host is the head, and is measured too
#
# Nothing stays behind: Ray on each host ends when this script ends, however it ends, and no Ray
# of anybody else is touched. The run lies in ./results of the head, in the directory where ssh
# arrives there; the exit code is that of `hengsuan run`.
set -euo pipefail

NODES=@{nodes}
# How a command is run on a host: RUNNER HOST COMMAND, with this script's input as its input.
RUNNER=(@{runner})

HOSTS=("$@")
if (( ${#HOSTS[@]} == 0 )); then
  HOSTS=(@{hosts})
fi
if (( ${#HOSTS[@]} != NODES )); then
  echo "error: this script is for $NODES host(s), got ${#HOSTS[@]}" >&2
  echo "hint: $0 HOST..." >&2
  exit 2
fi
HEAD=${HOSTS[0]#*@}

# What a host runs; it is told its role and the head's name.
read -r -d '' ON_HOST << 'END_OF_ON_HOST' || true
role=$1 head=$2
IFS= read -r RAY_AUTH_TOKEN
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
# Ray's own defaults would be measured: workers at nice 15, metrics, timelines.
@{environment}
# A head and its agents hold a connection to every node and more.
ulimit -n 65535 2>/dev/null || ulimit -n "$(ulimit -Hn)"
# RDMA registers memory; a limit shows as errors of the collective library.
ulimit -l unlimited 2>/dev/null ||
  echo "warning: $(hostname): locked memory is limited to $(ulimit -l) kB" >&2
# In one flat network each node keeps an address entry of every other. The kernel's default of
# 1024 is too few for large clusters, and overflowing looks like lost packets.
entries=$(cat /proc/sys/net/ipv4/neigh/default/gc_thresh3 2>/dev/null || echo 0)
if [ "$entries" -lt @{arp3} ]; then
  echo "warning: $(hostname): the ARP table holds $entries entries; as root: sysctl -w" \
    "net.ipv4.neigh.default.gc_thresh1=@{arp1} net.ipv4.neigh.default.gc_thresh2=@{arp2}" \
    "net.ipv4.neigh.default.gc_thresh3=@{arp3}" >&2
fi
# What makes python3, ray and hengsuan known on the host (a virtual environment, say).
@{prepare}
set -eu
if [ "$role" = measure ]; then
  python3 -c @{wait} "$head:@{port}" @{nodes}
  exec hengsuan run @{suite} --address "$head:@{port}"@{backend_option} --out results
fi
@{ray_resource}
if [ "$role" = head ]; then
  # No dashboard: it takes jobs.
  ray start --block --head --port=@{port} --include-dashboard=false @{start} > /dev/null &
else
  ray start --block --address="$head:@{port}" @{start} > /dev/null &
fi
ray=$!
# The input ends with the script that started this, however it ends; then so does this Ray.
trap '' INT
cat > /dev/null
kill "$ray" 2>/dev/null || true
wait "$ray" || true
END_OF_ON_HOST
# In this form it passes every shell on the way.
ENCODED=$(printf '%s' "$ON_HOST" | base64 | tr -d '\n')

on() {  # on HOST ROLE: its input begins with the token
  "${RUNNER[@]}" "$1" "bash -c \"\$(echo $ENCODED | base64 -d)\" hengsuan $2 $HEAD"
}

# A token for this run alone: without one, anyone who reaches Ray's ports runs code on the hosts.
# It travels over the runner's input: it is in no file, no argument list and no log.
TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')

INPUTS=()
PIDS=()
start() {  # start HOST ROLE: Ray there, with an input that stays open until this script ends
  local input
  exec {input}> >(on "$1" "$2")
  PIDS+=("$!")
  INPUTS+=("$input")
  printf '%s\n' "$TOKEN" >&"$input"
}
finish() {
  local input pid until=$((SECONDS + 30))
  for input in "${INPUTS[@]}"; do
    exec {input}>&-
  done
  for pid in "${PIDS[@]}"; do
    while kill -0 "$pid" 2>/dev/null && (( SECONDS < until )); do sleep 0.2; done
  done
}
trap finish EXIT

start "${HOSTS[0]}" head
for host in "${HOSTS[@]:1}"; do
  start "$host" worker
done
code=0
on "${HOSTS[0]}" measure <<< "$TOKEN" || code=$?
exit "$code"
