#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One instance of the engine: `python engine.py --role prefill|decode …`; README.md shows a pair."""

import sys
from pathlib import Path

# Run as a file, the package's own folder is on the path and not the one that it lies in.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from pd_serving.options import parse  # noqa: E402

if __name__ == "__main__":
    chosen = parse()
    from pd_serving.instance import main

    sys.exit(main(chosen))
