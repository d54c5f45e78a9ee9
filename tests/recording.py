"""A substitute for CUDA graphs without a GPU: work is recorded as single operations, which a replay repeats.

As with CUDA, a replay only knows the tensors of the recording: no Python of the work runs again, inputs and outputs
must be the same tensors, and work that a GPU could not capture is refused.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from engine.cuda_graphs import Captured, Graphs

# Reading a value on the host, a size that depends on values, or a tensor made from the host's values.
IMPOSSIBLE = (
    *("_local_scalar_dense", "item", "is_nonzero", "equal"),
    *("nonzero", "_unique2", "_unique", "unique_dim", "masked_select", "bincount", "repeat_interleave"),
    "lift_fresh",
)


class Recorder(TorchDispatchMode):
    """Records the operations that run inside it, and refuses those that a GPU could not capture."""

    current: "ClassVar[Recorder | None]" = None
    """The one that records; work that PyTorch does not see adds its calls by itself."""

    def __init__(self, allowed: str = "") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._refused = set(IMPOSSIBLE) - {allowed}
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_values = name in ("index", "index_put_") and any(one.dtype == torch.bool for one in tensors(args[1]))
        if name in self._refused or by_values:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        output = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, output))
        return output

    def __enter__(self) -> "Recorder":
        Recorder.current = self
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        Recorder.current = None
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def replay(self) -> None:
        for func, args, kwargs, output in self.calls:
            for recorded, value in zip(tensors(output), tensors(func(*args, **kwargs)), strict=True):
                if value.is_mkldnn or value.data_ptr() != recorded.data_ptr():  # neither a view nor in place
                    recorded.copy_(value)


def tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, Tensor)]


class Recordings(Graphs):
    """Graphs of a fake device, with counts of captures and replays."""

    def __init__(self, graph_bytes: int = 0, max_bytes: int = 0) -> None:
        super().__init__(self._record, torch.device("cpu"), max_bytes)
        self.graph_bytes = graph_bytes
        self.captured = self.replayed = 0

    def limit(self, max_bytes: int) -> None:
        """Set the memory for all graphs; without any, none is captured ahead."""
        self._max_bytes = max_bytes

    def _record(self, work: Callable[[], Any]) -> Captured:
        work()
        with Recorder() as recorder:
            outputs = work()
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            recorder.replay()

        return Captured(replay, outputs, self.graph_bytes)
