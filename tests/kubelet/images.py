# SPDX-License-Identifier: Apache-2.0
"""Container images without a registry or an engine: a pause program, and an image that has nothing of its own, whose
containers see the host's files through mounts."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

PAUSE, HOST = "flexnpu.test/pause:1", "flexnpu.test/host:1"
_PAUSE_C = """
#include <signal.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
"""
_FOLDERS = ("etc", "usr", "tmp", "proc", "sys", "dev", "root", "run", "var", "work")
_LINKS = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")}


def write(folder: Path) -> list[Path]:
    """Both, as archives that `ctr images import` takes."""
    program = folder / "pause"
    compiler = ["cc", "-static", "-Os", "-x", "c", "-", "-o", str(program)]
    subprocess.run(compiler, input=_PAUSE_C, text=True, check=True)
    users = {"etc/passwd": b"root:x:0:0::/root:/bin/sh\n", "etc/group": b"root:x:0:\nflexnpu:x:64300:\n"}
    links = {name: to for name, to in _LINKS.items() if Path("/", name).is_symlink()}
    return [
        _archive(folder / "pause.tar", PAUSE, _layer((), {}, {"pause": program.read_bytes()}), ["/pause"]),
        _archive(folder / "host.tar", HOST, _layer(_FOLDERS, links, users), []),
    ]


def _layer(folders: tuple[str, ...], links: dict[str, str], files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as layer:
        for name in folders:
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            layer.addfile(member)
        for name, to in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, to
            layer.addfile(member)
        for name, content in files.items():
            _add(layer, name, content)
    return out.getvalue()


def _archive(path: Path, name: str, layer: bytes, entrypoint: list[str]) -> Path:
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        _add(archive, "config.json", json.dumps(config).encode())
        _add(archive, "layer.tar", layer)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    return path


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o755
    archive.addfile(member, io.BytesIO(content))
