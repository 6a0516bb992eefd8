# SPDX-License-Identifier: Apache-2.0
"""The demo: a trace replayed through two engines on one modelled NPU, a static split against the controller."""
