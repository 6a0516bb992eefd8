#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The units of deploy/systemd under a systemd of their own: PID 1 of new namespaces of processes, mounts and control
# groups, which end with it. Needs root and systemd; touches nothing outside of them but a temporary directory.
#   tests/service/boot.sh
set -eu
here=$(realpath "$0")
checkout=$(realpath "$(dirname "$here")/../..")
venv=$checkout/.venv/bin
stage=${1:-start}

# The checkout's own programs in place of /opt/flexnpu; homes stay in sight, where its Python may be.
unit() {
    sed -e "s#/opt/flexnpu/bin/#$venv/#" -e "s#/etc/flexnpu/#/run/#" -e 's/^ProtectHome=.*/ProtectHome=no/' \
        -e 's/^\[Unit\]/[Unit]\nDefaultDependencies=no/' \
        -e "s#^\[Service\]#[Service]\nStandardOutput=append:$work/log\nStandardError=append:$work/log#" "$1"
}

start() {
    work=$(mktemp -d /tmp/flexnpu-service-XXXX)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    unshare -m bash "$here" namespaces "$work" > "$work/boot" 2>&1 || true
    cat "$work/check" 2>/dev/null || cat "$work/boot"
    tail -n 1 "$work/check" 2>/dev/null | grep -qx 'all is well' || { cat "$work/log"; exit 1; }
}

namespaces() {
    mount --make-rprivate /
    mkdir "$work/groups"
    mount -t cgroup2 none "$work/groups"
    group=$work/groups/$(basename "$work")
    mkdir "$group"
    echo $$ > "$group/cgroup.procs"
    unshare -C -p -f -m --kill-child --mount-proc bash "$here" boot "$work" &
    for _ in $(seq 1200); do [ -e "$work/over" ] && break; sleep 0.1; done
    kill -9 $!
    wait || true
    echo $$ > "$work/groups/cgroup.procs"
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    umount "$work/groups"
}

boot() {
    mount --make-rprivate /
    umount -R -l /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    # Whoever is no root gets to the Python of a root's environment, too.
    python=$(realpath "$venv/python")
    home=$(realpath ~root)
    case $python in "$home"/*)
        part=$home/$(cut -d/ -f1 <<< "${python#"$home"/}")
        mkdir "$work/python" && mount --bind "$part" "$work/python"
        mount -t tmpfs -o mode=755 none "$home" && mkdir "$part" && mount --bind "$work/python" "$part" ;;
    esac
    for file in passwd group shadow gshadow; do
        [ ! -e /etc/$file ] || { cp -p /etc/$file "$work/$file" && mount --bind "$work/$file" /etc/$file; }
    done
    echo 'flexnpu:x:61999:61999::/run/flexnpu:/usr/sbin/nologin' >> "$work/passwd"
    echo 'flexnpu:x:61999:' >> "$work/group"
    for place in /run /etc/systemd/system /var/log; do mount -t tmpfs none $place; done
    mkdir -p /run/systemd/system /run/lock /run/controllers
    for name in flexnpud.service flexnpu-controller@.service; do
        unit "$checkout/deploy/systemd/$name" > "/run/systemd/system/$name"
    done
    printf '[Unit]\nDefaultDependencies=no\nWants=check.service\n' > /run/systemd/system/check.target
    printf '%s\n' '[Unit]' DefaultDependencies=no '[Service]' Type=oneshot "ExecStart=/bin/bash $here check $work" \
        "StandardOutput=append:$work/check" "StandardError=append:$work/check" > /run/systemd/system/check.service
    exec env container=other /lib/systemd/systemd --system --unit=check.target --log-target=null --show-status=0
}

value() { systemctl show -p "$1" --value "$2"; }

as_flexnpu() { setpriv --reuid=flexnpu --regid=flexnpu --init-groups env FLEXNPU_RUNTIME_DIR=/run/flexnpu "$@"; }

expect() {
    [ "$2" = "$3" ] || { echo "$1: $2, not $3"; finish; }
    echo "$1: $2"
}

finish() { touch "$work/over"; sleep 10; }  # the namespaces end meanwhile

check() {
    cd /
    systemctl start flexnpud || finish
    expect 'ready when started' "$(value SubState flexnpud)" running
    pid=$(value MainPID flexnpud)
    expect 'user' "$(stat -c %U "/proc/$pid")" flexnpu
    expect 'capabilities' "$(awk '/CapBnd/ {print $2}' "/proc/$pid/status")" 0000000000000000
    expect 'system calls are filtered' "$(awk '/^Seccomp:/ {print $2}' "/proc/$pid/status")" 2
    expect 'admin socket' "$(stat -c '%a %U %G' /run/flexnpu/admin.sock)" '660 flexnpu flexnpu'
    for name in p d; do as_flexnpu "$venv/flexnpu" create $name --cores 12 --memory 1GiB > /dev/null || finish; done
    as_flexnpu "$venv/flexnpu" rebalance p=8 d=8 > /dev/null || finish
    sum='import torch, torch_npu; print((torch.ones(3).npu() + 1).sum().item())'
    expect 'a program of torch_npu' "$(as_flexnpu "$venv/flexnpu" run --cores 8 --memory 1GiB -- "$venv/python" -c "$sum" 2>/dev/null | tail -n 1)" 6.0
    printf '%s\n' 'prefill: p' 'decode: d' "model: $checkout/flexnpu/llm/models/Qwen2.5-7B.json" > /run/controllers/chat.yaml
    systemctl start flexnpu-controller@chat || finish
    for _ in $(seq 100); do as_flexnpu "$venv/flexnpu" ps --json | grep -q '"live": true' && break; sleep 0.1; done
    expect 'controller' "$(as_flexnpu "$venv/flexnpu" ps | awk '/split/ {print $NF}')" alive
    expect 'controller stopped' "$(systemctl stop flexnpu-controller@chat; value Result flexnpu-controller@chat)" success
    kill -9 "$pid"
    for _ in $(seq 100); do [ "$(value NRestarts flexnpud) $(value SubState flexnpud)" = '1 running' ] && break; sleep 0.1; done
    expect 'anew after SIGKILL' "$(value NRestarts flexnpud)" 1
    expect 'vNPUs stayed' "$(as_flexnpu "$venv/flexnpu" ps --json | grep -c '"owner_pid": null')" 2
    expect 'reload' "$(systemctl reload flexnpud; echo $?)" 0
    systemctl stop flexnpud
    expect 'stopped' "$(value Result flexnpud)" success
    echo 'all is well'
    finish
}

work=${2:-}
$stage
