# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes cluster of one node: etcd, API server, scheduler, controllers, containerd and kubelet as processes.

It is made within namespaces that run.py has entered: its network has nothing but itself, what it mounts is gone with
it, and so is every process of it. Nothing here would be safe on a machine that is a node already.
"""

from __future__ import annotations

import datetime
import json
import os
import shlex
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import images
from toolchain import Toolchain

NODE = "npu-node"
NODE_IP, SERVICES, API_IP = "10.97.0.1", "10.96.0.0/24", "10.96.0.1"
ADMIN, KUBELET, CONTROL = "admin-token", "kubelet-token", "control-token"
_TOKENS = f"""{ADMIN},admin,1,system:masters
{KUBELET},system:node:{NODE},2,system:nodes
{CONTROL},control,3,system:masters
"""
_CGROUP = "flexnpu-kubelet-test"


def eventually(condition: Callable[[], Any], within_s: float = 60.0, what: str = "it") -> Any:
    """The condition's value once it is true."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come to be within {within_s:g} s"
        time.sleep(0.05)
    return value


class Machine:
    """root: an empty folder for all of its state; its path is short, since there are sockets under it."""

    def __init__(self, root: Path, tools: Toolchain) -> None:
        self.root = root
        self._tools = tools
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.logs = root / "logs"
        self.logs.mkdir()

    # Its life

    def start(self) -> None:
        """Until the node is ready."""
        self._network()
        self._mounts()
        self._secrets()
        self._start_control_plane()
        self._start_containerd()
        self.start_kubelet()
        eventually(self.ready, what="the node's readiness")

    def stop(self) -> None:
        """All processes, the control plane last. Containers end with the namespace."""
        for name in reversed(list(self._running)):
            self.kill(name)

    def run(self, name: str, *command: str) -> None:
        """A process under that name, its output in logs/NAME.log."""
        with (self.logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.root)

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start_kubelet(self) -> None:
        self.run(
            "kubelet",
            self._tools["kubelet"],
            f"--kubeconfig={self._kubeconfig('kubelet', KUBELET)}",
            f"--config={self._kubelet_config()}",
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self.root}/containerd.sock",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_IP}",
            f"--pod-infra-container-image={images.PAUSE}",
        )

    # What is asked of it

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        """stdout, and where check is False stderr after it."""
        return self._tool("kubectl", f"--kubeconfig={self.admin}", *arguments, given=given, check=check)

    def show(self, *arguments: str) -> None:
        """On stdout, as a terminal has it: docs/kubernetes.md is made of that."""
        print(f"$ kubectl {shlex.join(arguments)}\n{self.kubectl(*arguments)}", flush=True)

    def helm(self, *arguments: str, check: bool = True) -> str:
        return self._tool("helm", f"--kubeconfig={self.admin}", *arguments, check=check)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """JSON is YAML, too."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", given=json.dumps(listed))

    def ready(self) -> bool:
        nodes = self.get("nodes")["items"]
        return any(
            each["type"] == "Ready" and each["status"] == "True"
            for node in nodes
            for each in node["status"].get("conditions", [])
        )

    def has_reported(self, since: datetime.datetime) -> bool:
        """The kubelet, its node's status; what the API server has of it may be that of a kubelet before."""
        conditions = self.get("node", NODE)["status"]["conditions"]
        return all(datetime.datetime.fromisoformat(each["lastHeartbeatTime"]) > since for each in conditions)

    def allocatable(self, resource: str) -> int:
        return int(self.get("node", NODE)["status"]["allocatable"].get(resource, "0"))

    @property
    def admin(self) -> Path:
        return self._kubeconfig("admin", ADMIN)

    def _tool(self, name: str, *arguments: str, given: str | None = None, check: bool = True) -> str:
        command = [self._tools[name], *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300, check=False)
        assert not check or done.returncode == 0, f"{name} {' '.join(arguments)}: {done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    # Its parts

    def _network(self) -> None:
        for command in (
            "link set lo up",
            f"addr add {API_IP}/32 dev lo",  # where a cluster has kube-proxy
            "link add node type bridge",
            f"addr add {NODE_IP}/24 dev node",
            "link set node up",
            "route add default dev node",  # the kubelet looks for one
        ):
            subprocess.run(["ip", *command.split()], check=True)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def _mounts(self) -> None:
        subprocess.run(["mount", "--make-rshared", "/"], check=True)
        for folder in ("/var/lib/kubelet", "/var/lib/flexnpu", "/var/log"):
            own = self.root / Path(folder).name
            own.mkdir()
            Path(folder).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", str(own), folder], check=True)
            subprocess.run(["mount", "--make-rshared", folder], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
        subprocess.run(["mount", "--make-rshared", "/run"], check=True)

    def _secrets(self) -> None:
        (self.root / "tokens.csv").write_text(_TOKENS)
        openssl = ["openssl"]
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-x509", "-days", "2"]
        names = f"subjectAltName=IP:127.0.0.1,IP:{API_IP},IP:{NODE_IP},DNS:kubernetes.default.svc"
        authority = ["-subj", "/CN=flexnpu-test", "-addext", names]
        files = ["-keyout", "api.key", "-out", "api.crt"]
        subprocess.run([*openssl, "req", *new_key, *authority, *files], cwd=self.root, check=True, capture_output=True)
        subprocess.run(
            [*openssl, "genrsa", "-out", "accounts.key", "2048"], cwd=self.root, check=True, capture_output=True
        )

    def _start_control_plane(self) -> None:
        etcd = ["--data-dir=etcd", "--listen-peer-urls=http://127.0.0.1:2380", "--log-level=error"]
        self.run("etcd", self._tools["etcd"], *etcd)
        self.run(
            "kube-apiserver",
            self._tools["kube-apiserver"],
            "--etcd-servers=http://127.0.0.1:2379",
            "--secure-port=443",
            f"--advertise-address={NODE_IP}",
            f"--service-cluster-ip-range={SERVICES}",
            "--tls-cert-file=api.crt",
            "--tls-private-key-file=api.key",
            "--token-auth-file=tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",  # nothing here knows the node by name
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=accounts.key",
            "--service-account-signing-key-file=accounts.key",
        )
        eventually(self._api_answers, what="the API server")
        control = self._kubeconfig("control", CONTROL)
        self.run(
            "kube-controller-manager",
            self._tools["kube-controller-manager"],
            f"--kubeconfig={control}",
            "--leader-elect=false",
            "--service-account-private-key-file=accounts.key",
            "--root-ca-file=api.crt",
        )
        self.run("kube-scheduler", self._tools["kube-scheduler"], f"--kubeconfig={control}", "--leader-elect=false")

    def _api_answers(self) -> bool:
        try:
            trusts = ssl.create_default_context(cafile=self.root / "api.crt")
            return httpx.get(f"https://{API_IP}/readyz", verify=trusts, timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def _start_containerd(self) -> None:
        (self.root / "cni").mkdir()
        (self.root / "cni/10-bridge.conflist").write_text(json.dumps(_CNI))
        (self.root / "containerd.toml").write_text(_CONTAINERD.format(root=self.root, pause=images.PAUSE))
        self.run("containerd", self._tools["containerd"], "--config", str(self.root / "containerd.toml"))
        ctr = [self._tools["ctr"], "--address", str(self.root / "containerd.sock"), "--namespace", "k8s.io"]
        eventually(lambda: subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode == 0)
        for archive in images.write(self.root):
            subprocess.run([*ctr, "images", "import", str(archive)], check=True, capture_output=True)

    def _kubeconfig(self, who: str, token: str) -> Path:
        path = self.root / f"{who}.kubeconfig"
        if not path.exists():
            cluster = {"server": f"https://{API_IP}", "certificate-authority": str(self.root / "api.crt")}
            made = {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": who, "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": who}}],
            }
            path.write_text(json.dumps(made))
        return path

    def _kubelet_config(self) -> Path:
        path = self.root / "kubelet.json"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "kubelet.config.k8s.io/v1beta1",
                    "kind": "KubeletConfiguration",
                    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
                    "authorization": {"mode": "AlwaysAllow"},  # nobody else is in this network
                    "cgroupDriver": "cgroupfs",
                    "cgroupRoot": f"/{_CGROUP}",
                    "failSwapOn": False,
                    "evictionHard": {"memory.available": "1Mi"},
                    "imageGCHighThresholdPercent": 100,
                    "resolvConf": "",
                    "clusterDNS": [API_IP],  # nothing answers there; without one every pod has a warning
                    "nodeStatusUpdateFrequency": "2s",
                    "syncFrequency": "2s",
                }
            )
        )
        return path


_CNI = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.98.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": "/run/cni",
            },
        }
    ],
}
_CONTAINERD = """
version = 2
root = "{root}/containerd/root"
state = "{root}/containerd/state"
[grpc]
  address = "{root}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_tcp_service = true
  restrict_oom_score_adj = true  # a root that may not lower it, as within a container, has pods all the same
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{root}/cni"
"""


def make_cgroups() -> list[Path]:
    """The cgroup that the kubelet makes its own under, in every hierarchy."""
    made = []
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        folder = hierarchy / _CGROUP
        if (hierarchy / "tasks").exists():
            folder.mkdir(exist_ok=True)
            made.append(folder)
    cpuset = Path("/sys/fs/cgroup/cpuset")
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (cpuset / name).exists():
            (cpuset / _CGROUP / name).write_text((cpuset / name).read_text())
    return made


def remove_cgroups() -> None:
    """Bottom up; what still holds a process stays."""
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        for folder, _, _ in os.walk(hierarchy / _CGROUP, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                continue
