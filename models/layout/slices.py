"""A forward pass of transformers' in slices: it runs in a thread of its own, which pauses after each layer.

Knows modules and threads, no network by name. A generator cannot pause inside a function that is not written for it,
and a copy of the function would have to follow every release. Only one of the two threads ever runs: the one that calls
hands its turn over and waits.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from models.protocol import Result, Sliced

LAYERS = (nn.Conv2d, nn.Linear)
"""Pauses follow these: all arithmetic of note is in them, or between two of them."""


class _Closed(BaseException):
    """Ends the thread of work that its caller gives up; no handler of a network's may swallow it."""


class _Turns:
    """Two threads that take turns. The worker begins once it is given the first one."""

    def __init__(self) -> None:
        self._callers, self._workers = threading.Semaphore(0), threading.Semaphore(0)
        self._closed = False

    def give(self) -> None:
        """Let the worker run until it pauses or ends."""
        self._workers.release()
        self._callers.acquire()

    def close(self) -> None:
        """Let the worker run to its end, which its pause has become."""
        self._closed = True
        self.give()

    def wait(self) -> None:
        """On the worker's thread: wait for a turn. Raises _Closed."""
        self._workers.acquire()
        if self._closed:
            raise _Closed

    def give_back(self) -> None:
        self._callers.release()


def forward_sliced(network: nn.Module, function: Callable[[], Result], device: torch.device) -> Sliced[Result]:
    """The result of `function`, which runs `network`, with a pause after each of its convolutions and linear layers.

    It runs as the caller does: in inference mode, on the caller's CUDA stream. Its exceptions are raised here. Closing
    the generator ends the thread before `close` returns.
    """
    turns, outcome = _Turns(), list[Any]()
    stream = torch.cuda.current_stream(device) if device.type == "cuda" else None

    def work() -> None:
        try:
            turns.wait()
            with torch.inference_mode(), _same_stream(stream), _pausing(network, turns):
                outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))
        finally:
            turns.give_back()

    worker = threading.Thread(target=work, name="layout", daemon=True)
    worker.start()
    try:
        turns.give()
        while not outcome:
            yield
            turns.give()
    finally:
        if not outcome:
            turns.close()
        worker.join()
    result, error = outcome.pop()
    if error is not None:
        raise error
    return result


def _same_stream(stream: "torch.cuda.Stream | None") -> Any:
    return nullcontext() if stream is None else torch.cuda.stream(stream)


@contextmanager
def _pausing(network: nn.Module, turns: _Turns) -> Iterator[None]:
    """Pause the calling thread, and no other that runs the network, after each layer."""
    own = threading.get_ident()

    def pause(_module: nn.Module, _inputs: Sequence[Tensor], _output: Any) -> None:
        if threading.get_ident() == own:
            turns.give_back()
            turns.wait()

    hooks = [layer.register_forward_hook(pause) for layer in network.modules() if isinstance(layer, LAYERS)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
