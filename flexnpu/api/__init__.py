# SPDX-License-Identifier: Apache-2.0
"""The admin REST API. Empty, so that a client can import the models without FastAPI."""
