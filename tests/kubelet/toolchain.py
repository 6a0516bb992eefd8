# SPDX-License-Identifier: Apache-2.0
"""What a Kubernetes node of one's own is made of: Debian's packages, binaries built from Debian's source package
`kubernetes`, and its clients. Kept in $XDG_CACHE_HOME/flexnpu (~/.cache/flexnpu), so that it is made once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubernetes_clients import CACHE, Unavailable, clients

PACKAGES = {
    "/usr/lib/go-1.19/bin/go": "golang-1.19-go",
    "/usr/bin/etcd": "etcd-server",
    "/usr/bin/containerd": "containerd",
    "/usr/sbin/runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/bin/dpkg-source": "dpkg-dev",
    "/usr/bin/openssl": "openssl",
    "/usr/bin/unshare": "util-linux",
    "/usr/sbin/ip": "iproute2",
    "/usr/lib/x86_64-linux-gnu/libc.a": "libc6-dev",
    "/usr/share/gocode/src/github.com/modern-go/reflect2": "golang-github-modern-go-reflect2-dev",
}
RELEASE = "1.20"
BUILT = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Where the binaries are: those built here, the clients, and Debian's."""

    built: Path
    clients: Path

    def __getitem__(self, name: str) -> str:
        found = next((folder / name for folder in (self.built, self.clients) if (folder / name).exists()), None)
        return str(found or shutil.which(name) or name)


def make() -> Toolchain:
    """All of it, made where it is missing: minutes of two cores, the first time. Unavailable where it cannot be."""
    if os.geteuid() != 0:
        raise Unavailable("a node's namespaces and cgroups need root")
    tools = Toolchain(CACHE / f"kubernetes-{RELEASE}", clients())
    _install()
    if not all((tools.built / name).exists() for name in BUILT):
        tools.built.mkdir(parents=True, exist_ok=True)
        _build(tools.built)
    return tools


def _install() -> None:
    missing = [package for file, package in PACKAGES.items() if not Path(file).exists()]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise Unavailable(f"no apt-get to install {' '.join(missing)}")
    print(f"installing {' '.join(missing)}", flush=True)
    options = ["-o", "DPkg::Lock::Timeout=300", "-y", "-qq"]
    _run(["apt-get", "update", "-qq"], "the package lists cannot be had")
    _run(
        ["apt-get", "install", *options, *missing],
        "packages cannot be had",
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )


def _build(root: Path) -> None:
    """Each binary appears in root when it is whole."""
    with tempfile.TemporaryDirectory(prefix="flexnpu-kubernetes-") as scratch:
        source = _source(Path(scratch))
        _renew_reflect2(source)
        print(f"building {', '.join(BUILT)}, for some minutes", flush=True)
        go = _Go(source, Path(scratch))
        go.generate_openapi()
        go.build(BUILT, root)


def _renew_reflect2(source: Path) -> None:
    """The one that comes with the source goes through maps as Go before 1.18 had them, and the API server crashes."""
    older = source / "vendor" / "github.com" / "modern-go" / "reflect2"
    shutil.rmtree(older)
    shutil.copytree("/usr/share/gocode/src/github.com/modern-go/reflect2", older)


class _Go:
    """Debian's Go in a GOPATH of scratch, as the source package is built."""

    def __init__(self, source: Path, scratch: Path) -> None:
        self._source, self._scratch = source, scratch
        own = {"GO111MODULE": "off", "GOPATH": str(scratch), "GOFLAGS": "", "CGO_ENABLED": "0"}
        self._environment = {**os.environ, **own, "GOCACHE": str(scratch / "cache")}

    def generate_openapi(self) -> None:
        """The one file of generated code that the API server needs and the source package leaves to its build."""
        tool = self._scratch / "openapi-gen"
        self._go("build", "-o", str(tool), "./vendor/k8s.io/kube-openapi/cmd/openapi-gen")
        tagged = set()
        for file in (file for top in ("pkg", "staging/src/k8s.io") for file in (self._source / top).rglob("*.go")):
            within = str(file.parent.relative_to(self._source)).replace("staging/src/", "vendor/")
            examples = within.startswith(("vendor/k8s.io/code-generator", "vendor/k8s.io/sample-apiserver"))
            if not examples and b"+k8s:openapi-gen=" in file.read_bytes() and not file.name.endswith("_test.go"):
                tagged.add(f"k8s.io/kubernetes/{within}")
        options = {
            "input-dirs": ",".join(sorted(tagged)),
            "output-package": "k8s.io/kubernetes/pkg/generated/openapi",
            "output-file-base": "zz_generated.openapi",
            "go-header-file": "hack/boilerplate/boilerplate.generatego.txt",
            "report-filename": str(self._scratch / "violations"),
        }
        command = [str(tool), *(f"--{name}={value}" for name, value in options.items())]
        _run(command, "Kubernetes' OpenAPI cannot be generated", cwd=self._source, env=self._environment)

    def build(self, names: Sequence[str], into: Path) -> None:
        vendor = "k8s.io/kubernetes/vendor/k8s.io"
        major, minor = RELEASE.split(".")
        fields = {"gitVersion": f"v{RELEASE}.2", "gitMajor": major, "gitMinor": minor}
        # The API server tells clients the second, and prints the first.
        packages = ("component-base/version", "client-go/pkg/version")
        version = [f"-X {vendor}/{name}.{field}={value}" for name in packages for field, value in fields.items()]
        out = self._scratch / "out"
        out.mkdir()
        flags = " ".join(["-s", "-w", *version])
        # Clouds' libraries are most of what there is to compile.
        options = ["-tags", "providerless", "-trimpath", "-ldflags", flags]
        self._go("build", *options, "-o", f"{out}/", *(f"./cmd/{name}" for name in names))
        for name in names:
            shutil.move(out / name, into / f".{name}")
            (into / f".{name}").rename(into / name)

    def _go(self, *arguments: str) -> None:
        command = ["/usr/lib/go-1.19/bin/go", *arguments]
        _run(command, "Kubernetes cannot be built", cwd=self._source, env=self._environment)


def _source(scratch: Path) -> Path:
    """Debian's source package where Go looks for it, from where this machine has its other packages from."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "Created-By: Packages", "--format", "$(REPO_URI) $(RELEASE)"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    lines = []
    for target in sorted(set(listed.splitlines())):
        uri, release = target.split()
        lines.append(f"deb-src {uri} {release} main\n")
    (scratch / "sources.list").write_text("".join(lines))
    (scratch / "lists/partial").mkdir(parents=True)
    options = []
    for option in (f"Etc::SourceList={scratch}/sources.list", "Etc::SourceParts=-", f"State::Lists={scratch}/lists"):
        options += ["-o", f"Dir::{option}"]
    options += ["-o", "APT::Sandbox::User=root", "-o", "APT::Update::Error-Mode=any"]
    _run(["apt-get", *options, "update", "-qq"], "the lists of source packages cannot be had")
    _run(
        ["apt-get", *options, "source", "-qq", "kubernetes"], "the source package kubernetes cannot be had", cwd=scratch
    )
    found = next(scratch.glob("kubernetes-*/"), None)
    if found is None or RELEASE not in re.split(r"[-+]|really", found.name.rpartition(".")[0]):
        raise Unavailable(
            f"Debian's source package is {found.name if found else 'not there'}, {RELEASE} is driven here"
        )
    place = scratch / "src/k8s.io/kubernetes"
    place.parent.mkdir(parents=True)
    return found.rename(place)


def _run(command: list[str], complaint: str, **options: object) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        last = (done.stdout.strip().splitlines() or ["no word why"])[-1]
        raise Unavailable(f"{complaint} ({last})")
