# SPDX-License-Identifier: Apache-2.0
"""flexnpu-device-plugin: a node's NPUs in Kubernetes, each shared by several pods."""
