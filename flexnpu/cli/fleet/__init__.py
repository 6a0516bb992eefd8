# SPDX-License-Identifier: Apache-2.0
"""flexnpu run --file: several programs at once, each on a vNPU of its own."""
