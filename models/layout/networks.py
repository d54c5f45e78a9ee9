"""All networks that look at whole pages before a prompt is made of them, loaded together, and what they take."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from models.layout.network import LayoutNetwork, load_network
from models.layout.orientation import OrientationNetwork, load_orientation
from models.layout.unwarping import UnwarpingNetwork, load_unwarping
from models.protocol import PageNetwork


@dataclass(frozen=True)
class PageNetworks:
    """None stands for a network that is not served."""

    layout: LayoutNetwork | None = None
    orientation: OrientationNetwork | None = None
    unwarping: UnwarpingNetwork | None = None

    def __iter__(self) -> Iterator[PageNetwork]:
        return (network for network in (self.layout, self.orientation, self.unwarping) if network is not None)

    @property
    def weights(self) -> int:
        """Bytes."""
        return sum(
            tensor.numel() * tensor.dtype.itemsize for one in self for tensor in one.network.state_dict().values()
        )

    @property
    def page_bytes(self) -> int:
        """Bytes that a page takes at most while a network looks at it; only one of them does at once."""
        return max((one.page_bytes for one in self), default=0)


def load_networks(
    layout: Path | None, orientation: Path | None, unwarping: Path | None, device: torch.device
) -> PageNetworks:
    """The networks of those checkpoint folders. Raises LayoutError, and StoreError for missing image settings."""
    return PageNetworks(
        None if layout is None else load_network(layout, device),
        None if orientation is None else load_orientation(orientation, device),
        None if unwarping is None else load_unwarping(unwarping, device),
    )
