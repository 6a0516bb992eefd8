# SPDX-License-Identifier: Apache-2.0
"""`make test-kubelet`: pytest in this folder, on a Kubernetes node of its own within namespaces of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "support"))

import machine  # noqa: E402
import toolchain  # noqa: E402
from kubernetes_clients import Unavailable  # noqa: E402

ROOM_BYTES = 2**30
# What a kubelet sets for the whole machine, whatever its namespaces.
SETTINGS = [Path("/proc/sys", name) for name in ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")]
SETTINGS += [Path("/proc/sys/kernel/keys", name) for name in ("root_maxkeys", "root_maxbytes")]


def main() -> int:
    try:
        toolchain.make()
        _check()
    except Unavailable as reason:
        print(f"test-kubelet: skipped: {reason}")
        return 0
    root = Path(tempfile.mkdtemp(prefix="fxk-"))
    machine.make_cgroups()
    before = {path: path.read_text() for path in SETTINGS}
    namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "--kill-child"]
    tests = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout=900", str(HERE), *sys.argv[1:]]
    environment = {**os.environ, "FLEXNPU_KUBELET_ROOT": str(root)}
    try:
        return subprocess.run(["unshare", *namespaces, *tests], env=environment, check=False).returncode
    finally:
        machine.remove_cgroups()
        for path, value in before.items():
            path.write_text(value)
        if "FLEXNPU_KEEP" in os.environ:
            print(f"what it left is in {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)


def _check() -> None:
    """Unavailable where a node cannot be had although its binaries are there."""
    if not Path("/sys/fs/cgroup/cpu/tasks").exists():
        raise Unavailable("Kubernetes 1.20 needs cgroups v1 under /sys/fs/cgroup, with the controllers apart")
    probe = ["unshare", "--mount", "--net", "--pid", "--fork", "ip", "link", "add", "probe", "type", "bridge"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"namespaces with a bridge cannot be had here ({done.stderr.strip()})")
    if "overlay" not in Path("/proc/filesystems").read_text():
        raise Unavailable("this kernel has no overlayfs, on which containerd keeps images")
    if shutil.disk_usage(tempfile.gettempdir()).free < ROOM_BYTES:
        raise Unavailable(f"less than {ROOM_BYTES >> 30} GiB are free under {tempfile.gettempdir()}")


if __name__ == "__main__":
    sys.exit(main())
