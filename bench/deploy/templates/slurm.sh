#!/usr/bin/env bash
# Hengsuan on Slurm: starts Ray on @{nodes} node(s), runs the suite @{suite_name}, ends Ray.
#
#   sbatch THIS_FILE
#
# The run lies in ./results afterwards, and the exit code is that of `hengsuan run`. The working
# directory must be on a file system that all nodes share.
#
#SBATCH --job-name=hengsuan
#SBATCH --nodes=@{nodes}
#SBATCH --ntasks-per-node=1
# Nobody else on the nodes: what is measured must be theirs alone.
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=@{time}
#SBATCH --output=hengsuan-%j.out
@{partition}
@{account}
@{gres}
set -euo pipefail

NODES=@{nodes}
PORT=@{port}
SUITE=@{suite}

# What makes python, ray and hengsuan known on every node (a module, a virtual environment).
@{prepare}

# A token for this job alone: without one, anyone who reaches Ray's ports runs code on the nodes.
# It lies in a file that only you can read, for as long as the job runs, and is never printed.
RAY_AUTH_TOKEN_PATH=$(umask 077 && mktemp "$PWD/.hengsuan-token.XXXXXX")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH"
export RAY_AUTH_TOKEN_PATH RAY_AUTH_MODE=token

# Ray's own defaults would be measured: workers at nice 15, metrics, timelines.
@{environment}

# A head and its agents hold a connection to every node and more.
ulimit -n 65535 2>/dev/null || ulimit -n "$(ulimit -Hn)"
# RDMA registers memory; a limit shows as errors of the collective library.
ulimit -l unlimited 2>/dev/null || echo "warning: locked memory is limited to $(ulimit -l) kB" >&2

# In one flat network each node keeps an address entry of every other. The kernel's default of
# 1024 is too few for large clusters, and overflowing looks like lost packets.
entries=$(cat /proc/sys/net/ipv4/neigh/default/gc_thresh3 2>/dev/null || echo 0)
if (( entries < @{arp3} )); then
  echo "warning: the ARP table holds $entries entries; as root, on every node:" >&2
  echo "  sysctl -w net.ipv4.neigh.default.gc_thresh1=@{arp1} \\" >&2
  echo "    net.ipv4.neigh.default.gc_thresh2=@{arp2} net.ipv4.neigh.default.gc_thresh3=@{arp3}" >&2
fi

HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
@{container}
@{ray_resource}
START=(@{start})
MEASURE=(hengsuan run "$SUITE" --address "$HEAD:$PORT"@{backend_option} --out results)

on() {  # on HOST COMMAND...: run a command on one node of the job
  local host=$1
  shift
  srun --overlap --nodes=1 --ntasks=1 --nodelist="$host" "${CONTAINER[@]}" "$@"
}

# The dashboard stays on the head's own 127.0.0.1, or does not start: it takes jobs.
if on "$HEAD" ray symmetric-run --help > /dev/null 2>&1; then
  # Ray 2.49 and later: the same command everywhere; it runs the suite on the head and ends Ray.
  srun "${CONTAINER[@]}" ray symmetric-run --address "$HEAD:$PORT" --min-nodes "$NODES" \
    "${START[@]}" -- "${MEASURE[@]}"
else
  on "$HEAD" ray start --head --port="$PORT" --include-dashboard=false --block "${START[@]}" &
  if (( NODES > 1 )); then
    srun --overlap --nodes=$((NODES - 1)) --ntasks=$((NODES - 1)) --exclude="$HEAD" \
      "${CONTAINER[@]}" ray start --address="$HEAD:$PORT" --block "${START[@]}" &
  fi
  on "$HEAD" python3 -c @{wait} "$HEAD:$PORT" "$NODES"
  code=0
  on "$HEAD" "${MEASURE[@]}" || code=$?
  jobs -p | xargs -r kill 2>/dev/null || true
  exit "$code"
fi
