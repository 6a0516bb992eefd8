# SPDX-License-Identifier: Apache-2.0
"""The flexnpu command: one module per group of commands."""
