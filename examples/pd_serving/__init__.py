# SPDX-License-Identifier: Apache-2.0
"""Prefill and decode of a language model as two instances: a small engine in ordinary torch and transformers."""
