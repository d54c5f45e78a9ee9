"""The image cache: features of images by content, for further questions about them, within a budget of bytes.

The other cache between requests, the prefix cache of prompts, is the free slots themselves; see slots.py.
"""

from collections import OrderedDict

from torch import Tensor


class ImageCache:
    """Features of images, evicted in least recently used order. Used by the engine's thread only."""

    def __init__(self, budget: int) -> None:
        """`budget`: bytes; 0 caches nothing."""
        self.budget = budget
        self.used = 0  # bytes, never more than the budget
        self._cached: OrderedDict[bytes, Tensor] = OrderedDict()  # the least recently used first

    def find(self, key: bytes) -> Tensor | None:
        """Cached features of an image. Non-finite ones are dropped, since they would corrupt later requests."""
        features = self._cached.get(key)
        if features is None:
            return None
        if not features.isfinite().all():
            self._drop(key)
            return None
        self._cached.move_to_end(key)
        return features

    def add(self, key: bytes, features: Tensor) -> None:
        """Cache the features of an image that is not cached yet, unless they exceed the budget."""
        if features.nbytes > self.budget:
            return
        while self.used + features.nbytes > self.budget:
            self._drop(next(iter(self._cached)))
        self._cached[key] = features.clone()  # a view would keep the features of all images of its batch
        self.used += features.nbytes

    def _drop(self, key: bytes) -> None:
        self.used -= self._cached.pop(key).nbytes

    def clear(self) -> None:
        self._cached.clear()
        self.used = 0
