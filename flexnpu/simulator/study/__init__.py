# SPDX-License-Identifier: Apache-2.0
"""Policies compared: their capacity on public traces, and what of published gains comes out here. docs/policies.md."""
