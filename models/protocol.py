"""What the engine wants of a network and of the processor that makes its input.

Imports no torch at run time: rooms without torch take PixelBounds and InputError from here.
"""

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

Result = TypeVar("Result")
Sliced: TypeAlias = Generator[None, None, Result]
"""Long work that pauses after each slice, so that other work gets its turn, and ends with the result."""

Grid: TypeAlias = tuple[int, int]
"""Patches (rows, columns) of one image."""

Attend: TypeAlias = "Callable[[int, Tensor, Tensor], Tensor]"
"""(layer, q (N, heads, D), keys and then values (N, 2 * kv_heads, D)) -> (N, heads, D); the engine's, with its cache"""


class Patches(NamedTuple):
    """Patches of images as the vision tower's layers take them."""

    x: "Tensor"  # (N, hidden), the residual stream
    cos: "Tensor"  # (N, 1, D) fp32, as `sin`: rotary positions
    sin: "Tensor"


class PixelBounds(NamedTuple):
    """An image is scaled to between these numbers of pixels before it is cut into patches."""

    min_pixels: int
    max_pixels: int


class BlockLimits(NamedTuple):
    """How a checkpoint reads the blocks of a page best; None: as the releases do."""

    lines: int | None = None  # lines of text in one image, at most
    rows: int | None = None  # rows of a table, likewise
    min_pixels: int | None = None  # to which smaller images of text and tables are enlarged


WHOLE_BLOCKS = BlockLimits()


class InputError(ValueError):
    """Messages or images that cannot become a model input; the message says why."""


class ModelInput(Protocol):
    """One prompt of L tokens, ready for the network."""

    @property
    def input_ids(self) -> list[int]:
        """L token ids, with one image token for each feature of an image."""
        ...

    @property
    def positions(self) -> "Tensor":
        """(3, L) int64, M-RoPE."""
        ...

    @property
    def next_position(self) -> int:
        """Position of the first answer token, the same on all axes."""
        ...

    @property
    def content_ids(self) -> "np.ndarray":
        """(L,) int64. Prompts that begin with the same content ids give the network the same input there."""
        ...

    @property
    def grids(self) -> list[Grid]: ...

    @property
    def image_tokens(self) -> list[int]:
        """Image tokens of each image."""
        ...

    @property
    def image_keys(self) -> list[bytes]:
        """A key of each image's content: the same pixels have the same key."""
        ...

    def pixels_of(self, image: int) -> "np.ndarray":
        """One image's patches, (patches, channels, patch, patch) fp32."""
        ...

    def without_pixels(self) -> "ModelInput":
        """A copy without pixels, which take far more memory than all the rest."""
        ...


class InputProcessor(Protocol):
    """Turns messages and images into model input, with the checkpoint's tokenizer, template and settings."""

    config: Any  # transformers' config; the engine reads `text_config.vocab_size`
    generation: Any  # transformers' GenerationConfig: sampling defaults
    tokenizer: Any  # transformers' tokenizer
    bounds: PixelBounds  # the checkpoint's own
    block_limits: BlockLimits
    image_token_id: int
    eos_token_ids: frozenset[int]  # tokens that end an answer
    longest_token: int  # characters

    def prepare(
        self,
        messages: Sequence[dict[str, Any]],
        images: "Sequence[Image.Image]",
        bounds: Sequence[PixelBounds] | None = None,
    ) -> ModelInput:
        """`bounds` of each image, where they are not the checkpoint's own. Raises InputError."""
        ...

    def pixel_bytes(self, images: "Sequence[Image.Image]", bounds: Sequence[PixelBounds] | None = None) -> int:
        """Memory that the pixels of the model input will take. Raises InputError."""
        ...


class Network(Protocol):
    """A vision tower and a decoder, without any state of requests; decoder inputs and hidden states are (N, hidden)."""

    image_token_id: int

    @property
    def vocabulary(self) -> int:
        """Rows of the logits."""
        ...

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """(channels, patch, patch), the pixels of one patch."""
        ...

    def encode_sliced(self, pixels: "Tensor", grids: Sequence[Grid], rows: int | None = None) -> "Sliced[list[Tensor]]":
        """Features of each image, (image tokens, hidden), from all their patches, in slices of at most `rows`."""
        ...

    def embed_patches(self, pixels: "Tensor", grids: Sequence[Grid]) -> Patches:
        """`encode_sliced` in three steps for a graph, which knows no grids: this one is outside."""
        ...

    def encode_patches(self, patches: Patches, ends: "Tensor") -> "Tensor":
        """Inside: hidden states (N, hidden) of images whose patches are between two of `ends` (images + 1,) int32."""
        ...

    def features(self, hidden: "Tensor", grids: Sequence[Grid]) -> "list[Tensor]":
        """Outside: the features of each image, as `encode_sliced` returns them."""
        ...

    def embed(self, input_ids: "Tensor", features: "Sequence[Tensor]" = ()) -> "Tensor":
        """Decoder inputs of `input_ids` (N,), with the images' features in place of image tokens."""
        ...

    def decode(self, x: "Tensor", positions: "Tensor", attend: Attend) -> "Tensor":
        """Hidden states of decoder inputs at `positions` (3, N)."""
        ...

    def decode_sliced(self, x: "Tensor", positions: "Tensor", attend: Attend) -> "Sliced[Tensor]":
        """The same in slices."""
        ...

    def logits(self, hidden: "Tensor") -> "Tensor":
        """(N, hidden) -> (N, vocabulary), fp32."""
        ...


class PageNetwork(Protocol):
    """A network that looks at whole pages: prepared in any thread, run on the engine's, its results read in any."""

    network: Any  # transformers' module
    page_bytes: int  # a page's share of memory at most while the network runs, besides weights

    def prepare(self, page: "Image.Image") -> "Tensor":
        """(1, channels, height, width) on the CPU, the same shape for every page."""
        ...

    def run_sliced(self, pixels: "Tensor", thresholds: Sequence[float]) -> "Sliced[list[Any]]":
        """A result for each page, on the host; `thresholds` of each page's scores, for networks that score blocks."""
        ...
