# The first process of a host: makes the namespaces that it was started in a host's own, says
# "ready", and ends when its standard input closes.
#
#   bash boot.sh NAME MACHINE_ID NAMES      NAMES: more lines of /etc/hosts
set -euo pipefail

hold=$(mktemp -d)
mount -t tmpfs hosts "$hold"
mkdir "$hold/cgroup" "$hold/etc"

# A new view of /sys shows this network's interfaces; the control groups stay as they are.
if [ -d /sys/fs/cgroup ]; then mount --rbind /sys/fs/cgroup "$hold/cgroup"; fi
mount -t sysfs sysfs /sys
if [ -d /sys/fs/cgroup ]; then mount --move "$hold/cgroup" /sys/fs/cgroup; fi

# As Debian installs it, a host takes its own name for an address of loopback. Who is not quite root
# cannot copy everything, and does not need it.
cp -a /etc/. "$hold/etc" 2> /dev/null || true
hostname "$1"
echo "$1" > "$hold/etc/hostname"
echo "$2" > "$hold/etc/machine-id"
printf '127.0.0.1 localhost\n127.0.1.1 %s\n%s' "$1" "$3" > "$hold/etc/hosts"
mount --bind "$hold/etc" /etc
umount -l "$hold"
rmdir "$hold"

mkdir -p /tmp/ray
mount -t tmpfs hosts /tmp/ray
mount -t tmpfs hosts /dev/shm
ip link set lo up
# Others pause now and then to probe the way, and would be measured.
echo reno > /proc/sys/net/ipv4/tcp_congestion_control 2> /dev/null || true

echo ready
read -r _ || true
