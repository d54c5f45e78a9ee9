"""Faults for a server, switched on by files in FAULTS.

Python runs this at its start if this folder is on PYTHONPATH, or a process runs it itself. The product has no hook for
it: its functions are wrapped when their modules are imported, or now.
"""

import errno
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FAULTS = Path(os.environ["FAULTS"])
CULPRIT = 666  # the seed of the request that a fault is for
ALLOCATOR = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate"


def asked(name: str) -> str | None:
    """The content of this fault's file; None if there is no file."""
    try:
        return (FAULTS / name).read_text()
    except FileNotFoundError:
        return None


def struck(name: str) -> None:
    """Report that the fault has happened, to the test that waits for it."""
    (FAULTS / f"{name}.struck").touch()


def shortage(kind: str) -> Exception:
    import torch

    kinds = {"gpu": torch.OutOfMemoryError("CUDA out of memory"), "cpu": RuntimeError(ALLOCATOR), "host": MemoryError()}
    return kinds[kind]


def break_steps(module: Any) -> None:
    step = module.Core.step

    def faulty_step(core: Any) -> None:
        if asked("dead-thread") is not None:
            (FAULTS / "dead-thread").unlink()  # the next worker must live
            struck("dead-thread")
            raise RuntimeError("an injected fault of the thread")
        step(core)

    module.Core.step = faulty_step


def break_decoding(module: Any) -> None:
    launch, logits_of = module.Decode.launch, module.Decode._logits_of

    def faulty_launch(decode: Any, sequences: Sequence[Any], *before: Any) -> Any:
        culprits = [sequence.slot for sequence in sequences if sequence.params.seed == CULPRIT]
        if asked("stuck-step") is not None and culprits:
            struck("stuck-step")
            while asked("stuck-step") is not None:
                time.sleep(0.05)
        if (kind := asked("decoding-memory")) is not None and culprits:
            raise shortage(kind)
        if asked("decoding-bug") is not None and culprits:
            raise KeyError("an injected bug")
        decode.culprits = culprits
        return launch(decode, sequences, *before)

    def faulty_logits(decode: Any, rows: Sequence[Any]) -> Any:
        logits = logits_of(decode, rows)
        if asked("not-finite") is not None:
            logits[[row.slot in decode.culprits for row in rows]] = float("nan")
        return logits

    module.Decode.launch, module.Decode._logits_of = faulty_launch, faulty_logits


def break_vision(module: Any) -> None:
    encode = module.PaddleOCRVL.encode_sliced

    def faulty_encode(model: Any, pixels: Any, grids: Sequence[Any], rows: int | None = None) -> Any:
        if (said := asked("vision-memory")) is not None and len(pixels) > int(said.split()[1]):
            raise shortage(said.split()[0])
        return (yield from encode(model, pixels, grids, rows))

    module.PaddleOCRVL.encode_sliced = faulty_encode


def break_images(module: Any) -> None:
    find = module.ImageCache.find

    def faulty_find(cache: Any, key: bytes) -> Any:
        if asked("spoilt-images") is not None and cache._cached:
            (FAULTS / "spoilt-images").unlink()
            for features in cache._cached.values():
                features[-1, -1] = float("nan")
            struck("spoilt-images")
        return find(cache, key)

    module.ImageCache.find = faulty_find


def break_store(module: Any) -> None:
    copy = module.shutil.copyfileobj

    def faulty_copy(source: Any, target: Any, piece: int) -> None:
        if asked("full-disk") is not None:
            target.write(source.read()[:100])
            struck("full-disk")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copy(source, target, piece)

    module.shutil = SimpleNamespace(copyfileobj=faulty_copy)


def losing_an_answer(fault: str, method: Any, is_kept: Callable[[Any], bool]) -> Any:
    """A method after whose commit the connection ends once, where what it returns tells that something was kept."""
    from sqlalchemy.exc import OperationalError

    def faulty(*arguments: Any, **more: Any) -> Any:
        returned = method(*arguments, **more)
        if is_kept(returned) and asked(fault) is not None:
            (FAULTS / fault).unlink()  # the next answer arrives
            struck(fault)
            raise OperationalError("COMMIT", {}, Exception("an injected end of the connection"))
        return returned

    return faulty


def break_records(module: Any) -> None:
    module.Records.end = losing_an_answer("lost-answer", module.Records.end, lambda _: True)


def break_claims(module: Any) -> None:
    database = module.SystemDatabase
    claim = database.start_queued_workflows
    database.start_queued_workflows = losing_an_answer("lost-claim", claim, lambda claimed: bool(claimed[0]))


def break_clock() -> None:
    now = time.time
    time.time = lambda: now() + float(asked("clock") or 0)


class Breaking:
    """A module finder that delegates to the other finders and wraps what the modules define."""

    def __init__(self, faults: dict[str, Callable[[Any], None]]) -> None:
        self._faults = faults

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        fault = self._faults.pop(name, None)
        spec = importlib.util.find_spec(name) if fault is not None else None
        if fault is None or spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_break(module: Any) -> None:
            load(module)
            fault(module)

        spec.loader.exec_module = load_and_break  # type: ignore[method-assign]
        return spec


BREAK: dict[str, Callable[[Any], None]] = {
    "engine.core": break_steps,
    "engine.decode": break_decoding,
    "models.paddleocr_vl.model": break_vision,
    "engine.image_cache": break_images,
    "jobs.store": break_store,
    "jobs.records": break_records,
    "dbos._sys_db": break_claims,
}

break_clock()
for name in BREAK.keys() & sys.modules.keys():
    BREAK.pop(name)(sys.modules[name])
sys.meta_path.insert(0, Breaking(BREAK))
