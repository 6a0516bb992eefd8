# SPDX-License-Identifier: Apache-2.0
"""flexnpu doctor: what of this host FlexNPU needs, and what mends it where it is not so."""
