"""Features of images, kept by content for the next question about them, within a budget of bytes.

The other half of what is kept between requests, the KV cache of prompts, stays in the slots; `slots` knows of it.
"""

from collections import OrderedDict

from torch import Tensor


class ImageCache:
    """Belongs to the engine's thread. What was used least recently leaves first."""

    def __init__(self, budget: int) -> None:
        """`budget`: bytes; 0 keeps nothing."""
        self.budget = budget
        self.used = 0  # bytes, never more than the budget
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()  # the least recently used first

    def find(self, key: bytes) -> Tensor | None:
        """The features of an image, if they are kept. Such as are not finite would spoil every further question."""
        features = self._kept.get(key)
        if features is None:
            return None
        if not features.isfinite().all():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return features

    def keep(self, key: bytes, features: Tensor) -> None:
        """Keep the features of an image that is not kept yet, unless the budget is too small for them."""
        if features.nbytes > self.budget:
            return
        while self.used + features.nbytes > self.budget:
            self._drop(next(iter(self._kept)))
        self._kept[key] = features.clone()  # a view would keep all that was made in the same call
        self.used += features.nbytes

    def _drop(self, key: bytes) -> None:
        self.used -= self._kept.pop(key).nbytes

    def clear(self) -> None:
        self._kept.clear()
        self.used = 0
