# SPDX-License-Identifier: Apache-2.0
"""The web page: files that the daemon serves as they are."""

from flexnpu.web.files import File, load

__all__ = ["File", "load"]
