# SPDX-License-Identifier: Apache-2.0
"""flexnpud: owns the devices, accepts tenants, applies quotas, survives restarts."""
