# SPDX-License-Identifier: Apache-2.0
"""The plain manifests, from the chart: python deploy/manifests/render.py HELM, which is the path of helm 3 or 4."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
CHART = HERE.parent / "helm/flexnpu"
NAMESPACE = "flexnpu-system"
_HEAD = f"""# SPDX-License-Identifier: Apache-2.0
# Made from deploy/helm/flexnpu by `make manifests`: change that.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: privileged
"""
FILES = {"flexnpu.yaml": ["devices.kind=ascend"], "flexnpu-softnpu.yaml": ["devices.kind=software"]}


def rendered(helm: Path) -> Iterator[tuple[Path, str]]:
    """Each file and what it has to hold."""
    for name, values in FILES.items():
        options = [option for value in values for option in ("--set", value)]
        command = [str(helm), "template", "flexnpu", str(CHART), "--namespace", NAMESPACE, "--include-crds", *options]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        yield HERE / name, _HEAD + "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


if __name__ == "__main__":
    for file, content in rendered(Path(sys.argv[1])):
        file.write_text(content, encoding="utf-8")
