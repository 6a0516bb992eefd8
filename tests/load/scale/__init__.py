# SPDX-License-Identifier: Apache-2.0
"""A full node under mixed load: `python -m scale` in tests/load, docs/testing.md."""
