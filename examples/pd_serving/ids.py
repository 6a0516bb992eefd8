# SPDX-License-Identifier: Apache-2.0
"""What goes between host and device without either waiting for the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def upload(host: Tensor, device: torch.device) -> Tensor:
    """On its way to the device, and there before whatever is launched next. `host` may be forgotten at once."""
    if device.type != "npu":
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)


class Ids:
    """Tokens that a step makes: `tokens`, (sequences,), on the device for the next step, and wait() on the host."""

    @torch.inference_mode()
    def __init__(self, tokens: Tensor, vocabulary: int) -> None:
        self.tokens = tokens
        self._most = vocabulary - 1
        self._event: Any = None
        if tokens.device.type == "npu":
            self._host = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=True)
            self._host.copy_(tokens, non_blocking=True)
            self._event = torch.npu.Event()
            self._event.record()
        else:
            self._host = tokens.clone()

    @property
    def there(self) -> bool:
        """Whether wait() would not wait."""
        return self._event is None or bool(self._event.query())

    def wait(self) -> list[int]:
        """A choice among undefined values need not be an id, and is made one."""
        if self._event is not None:
            self._event.synchronize()
        return [min(max(token, 0), self._most) for token in self._host.tolist()]
