# SPDX-License-Identifier: Apache-2.0
"""A node's part in the cluster: annotations of its pods, and what it tells of itself."""
