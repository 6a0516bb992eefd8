# SPDX-License-Identifier: Apache-2.0
"""The node in Prometheus's words: tables of metrics, and the page that is made of them."""
