#!/bin/busybox sh
# Init of the guest: what an agent finds on a node, then the agent itself, then the tests of its datapath, then off.
export PATH=/usr/sbin:/bin HOME=/ RUST_BACKTRACE=0 TMPDIR=/tmp
/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
dmesg -n 1
for module in inet_diag tcp_diag veth sch_ingress cls_bpf; do
    [ -e /modules/$module.ko ] && insmod /modules/$module.ko
done
ip link set lo up
say() { echo "KERNEL-CHECK $*"; }
finish() { say "result $*"; poweroff -f; }
say "kernel $(uname -r)"

# The agent as a node starts it, with no controller to talk to: it loads and attaches, or says what the kernel lacks.
mkdir -p /run/heddle /sys/fs/cgroup/kubelet
echo token >/run/heddle/token
heddle-agent --node guest --controller 127.0.0.1:15012 --root-cert /run/heddle/root.pem --token-file /run/heddle/token \
    --pods-dir /run/heddle/pods --captured-dir /run/heddle/captured --bpffs /run/heddle/bpf --cgroup /sys/fs/cgroup \
    --prober-cgroup /sys/fs/cgroup/kubelet --state-dir /run/heddle/state --keys-dir /run/heddle/keys \
    --admin-socket /run/heddle/agent.sock >/tmp/agent.log 2>&1 &
agent=$!
tries=0
while kill -0 $agent 2>/dev/null && [ ! -S /run/heddle/agent.sock ] && [ $tries -lt 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
if ! kill -0 $agent 2>/dev/null; then
    reason=$(grep '^heddle-agent: this kernel' /tmp/agent.log | sed 's/^heddle-agent: //')
    [ -n "$reason" ] || { cat /tmp/agent.log; finish "failed: the agent ended"; }
    finish "refused: $reason"
fi
for pin in $(find /run/heddle/bpf -path '*links/*'); do say "attached ${pin##*/}"; done
kill -9 $agent
wait $agent 2>/dev/null
umount /run/heddle/bpf

# Two pods, a node, connections: every program runs and is checked.
datapath --test-threads 1 >/tmp/tests.log 2>&1
status=$?
grep '^test ' /tmp/tests.log | while read -r line; do say "$line"; done
[ $status = 0 ] || { cat /tmp/tests.log; finish "failed: tests of the datapath"; }
finish enrolled
