# SPDX-License-Identifier: Apache-2.0
"""Serving experiments: a load replayed on two real engines that share one modelled NPU, and in the simulator."""
