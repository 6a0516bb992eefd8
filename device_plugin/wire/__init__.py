# SPDX-License-Identifier: Apache-2.0
"""What the kubelet and the plugin say to each other: messages (made from the .proto files here) and services."""
