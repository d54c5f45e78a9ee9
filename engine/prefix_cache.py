"""Features of pictures, kept by content for the next question about them, within a budget of bytes.

The other half of what is kept between requests, the KV cache of prompts, stays in the slots; `slots` knows of it.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor


class PictureCache:
    """Belongs to the engine's thread. What was used least recently leaves first."""

    def __init__(self, budget: int) -> None:
        """`budget`: bytes; 0 keeps nothing."""
        self.budget = budget
        self.used = 0  # bytes, never more than the budget
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()  # the least recently used first

    def features(self, keys: Sequence[bytes], encode: Callable[[Sequence[bytes]], Sequence[Tensor]]) -> list[Tensor]:
        """Features of the pictures of `keys`; `encode` makes those that are not kept, each once, in one call."""
        found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        for key in found:
            self._kept.move_to_end(key)
        if missing:
            made = dict(zip(missing, encode(missing), strict=True))
            for key, features in made.items():
                self._keep(key, features)
            found |= made
        return [found[key] for key in keys]

    def clear(self) -> None:
        self._kept.clear()
        self.used = 0

    def _keep(self, key: bytes, features: Tensor) -> None:
        if features.nbytes > self.budget:
            return
        while self.used + features.nbytes > self.budget:
            _, oldest = self._kept.popitem(last=False)
            self.used -= oldest.nbytes
        self._kept[key] = features.clone()  # a view would keep all that was made in the same call
        self.used += features.nbytes
