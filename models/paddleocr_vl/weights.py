"""Reads a checkpoint's safetensors straight into the model's fused parameters, one tensor at a time.

Two layouts are known. Both become one canonical name by a prefix table; each canonical name owns a slice of one of
our parameters (q, k, v share `qkv_proj`; gate and up share `gate_up_proj`).
"""

import contextlib
import ctypes
import json
import mmap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from models.paddleocr_vl.model import PaddleOCRVL

# The layout of the hub's checkpoints and the one that transformers 5 writes, each to our canonical prefix.
HUB_LAYOUT = {"visual.vision_model.": "visual.", "mlp_AR.": "projector.", "lm_head.": "lm_head.", "model.": "text."}
TRANSFORMERS_LAYOUT = {
    "model.visual.vision_model.": "visual.",
    "model.projector.": "projector.",
    "model.language_model.": "text.",
    "lm_head.": "lm_head.",
}
# Tensors in the hub's files that no forward pass uses (transformers also ignores them).
MAPPED = "mapped_from_file"  # attribute of parameters: the address at which a file is mapped as their data
UNUSED = ("visual.embeddings.packing_position_embedding", "visual.head.", "visual.embeddings.position_ids")


class CheckpointError(ValueError):
    """The files do not hold the model that their config describes; the message names what is wrong."""


def load_model(folder: Path, config: Any, device: torch.device, dtype: torch.dtype) -> PaddleOCRVL:
    """The model of `folder` on `device`, ready for inference. Raises CheckpointError.

    On a CPU, tensors that need no change stay mapped from the files; `cpu_products.pack` copies them once.
    """
    model = new_model(config, device, dtype)
    fill(model, folder, mapped=device.type == "cpu")
    return model


def new_model(config: Any, device: torch.device, dtype: torch.dtype) -> PaddleOCRVL:
    """A model for inference whose weights are not set yet."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), uninitialised():
            model = PaddleOCRVL(config)
    finally:
        torch.set_default_dtype(default)
    model.text.place(device)
    return model.requires_grad_(False).eval()


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype of all tensors in a checkpoint's files; fp32 if they differ. Raises CheckpointError."""
    found = set()
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                found |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise broken(file, error) from error
    return {("BF16",): torch.bfloat16, ("F16",): torch.float16}.get(tuple(found), torch.float32)


def broken(file: Path, error: SafetensorError) -> CheckpointError:
    return CheckpointError(f"{file} is not a whole safetensors file: {error}")


@contextlib.contextmanager
def uninitialised() -> Iterator[None]:
    """New layers skip random initialisation. PyTorch's meta device would import the compiler for it: a second."""
    resets = {layer: layer.reset_parameters for layer in (nn.Linear, nn.Embedding)}
    try:
        for layer in resets:
            layer.reset_parameters = lambda _self: None  # type: ignore[method-assign]
        yield
    finally:
        for layer, reset in resets.items():
            layer.reset_parameters = reset  # type: ignore[method-assign]


def fill(model: PaddleOCRVL, folder: Path, *, mapped: bool = False, known: Collection[str] = ()) -> None:
    """Copy every tensor of `folder` into `model`; the output head is tied if the files have none.

    `mapped`: a tensor that is a whole parameter, in its dtype, becomes a view of the file instead. `known`: parameters
    that are left as they are.
    """
    slices = parameter_slices(model)
    left = {model.get_parameter(name).untyped_storage().data_ptr() for name in known}
    whole = {parameter.data_ptr(): parameter for parameter in model.parameters()} if mapped else {}
    missing = set(slices)
    extra, misshapen = [], []
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                for stored in tensors.keys():  # noqa: SIM118 - not a mapping
                    name = canonical(stored)
                    if name.startswith(UNUSED):
                        continue
                    if name not in slices:
                        extra.append(stored)
                        continue
                    tensor = tensors.get_tensor(stored)
                    if tensor.shape != slices[name].shape:
                        misshapen.append(f"{stored} is {list(tensor.shape)}, not {list(slices[name].shape)}")
                    elif slices[name].untyped_storage().data_ptr() in left:
                        pass
                    elif (own := whole.get(slices[name].data_ptr())) is not None and is_like(tensor, own):
                        own.data = tensor.view_as(own)
                        setattr(own, MAPPED, own.data_ptr())
                    else:
                        with torch.no_grad():
                            slices[name].copy_(tensor)
                        let_go(tensor)
                    missing.discard(name)
        except SafetensorError as error:
            raise broken(file, error) from error
    if "lm_head.weight" in missing:
        model.lm_head.weight = model.text.embed_tokens.weight
        missing.remove("lm_head.weight")
    problems = [("missing", sorted(missing)), ("unknown", sorted(extra)), ("misshapen", sorted(misshapen))]
    if any(names for _, names in problems):
        details = "; ".join(f"{len(names)} {kind}: {', '.join(names[:5])}" for kind, names in problems if names)
        raise CheckpointError(f"The weights in {folder} do not fit its config.json. {details}")


def release(weight: Tensor) -> None:
    """Take the pages of a weight out of this process's memory if it is mapped from a file; reading maps them again.

    A weight that was mapped and has other data since keeps it: pages that no file backs would be zeros.
    """
    if getattr(weight, MAPPED, None) == weight.data_ptr():
        let_go(weight)


def let_go(mapped: Tensor) -> None:
    """Take the pages of a tensor that is mapped from a file out of this process's memory."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = -(-mapped.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (mapped.data_ptr() + mapped.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - start
    if size > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_DONTNEED)


def is_like(tensor: Tensor, parameter: Tensor) -> bool:
    return tensor.numel() == parameter.numel() and tensor.dtype == parameter.dtype


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder: those in its index, else the single one."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} is not an index of safetensors files: {error!r}") from error
    else:
        names = ["model.safetensors"]
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise CheckpointError(f"{folder} lacks {', '.join(absent)}")
    return [folder / name for name in names]


def canonical(stored: str) -> str:
    """The canonical name of a stored tensor; an unknown name is returned unchanged."""
    for layout in (TRANSFORMERS_LAYOUT, HUB_LAYOUT):
        for prefix, ours in layout.items():
            if stored.startswith(prefix):
                return ours + stored.removeprefix(prefix)
    return stored


def parameter_slices(model: PaddleOCRVL) -> dict[str, Tensor]:
    """Canonical name -> the view of the parameter that holds it."""
    vision, text = model.config.vision_config, model.config.text_config
    heads = [text.num_attention_heads * text.head_dim] + 2 * [text.num_key_value_heads * text.head_dim]
    fused = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    modules = {
        "visual.patch_embedding": "visual.embeddings.patch_embedding",
        "visual.position_embedding": "visual.embeddings.position_embedding",
    }
    blocks = {"qkv_proj": "self_attn", "out_proj": "self_attn", "o_proj": "self_attn"}
    blocks |= dict.fromkeys(("gate_up_proj", "down_proj", "fc1", "fc2"), "mlp")
    slices: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        path, leaf = name.rsplit(".", 1)
        parent, _, module = path.rpartition(".")
        if module in blocks:
            parent += f".{blocks[module]}"
        if parent.startswith("visual.layers"):
            parent = parent.replace("visual.layers", "visual.encoder.layers", 1)
        if module in fused:
            sizes = heads if name.startswith("text.") and module == "qkv_proj" else len(parameter) // len(fused[module])
            for part, view in zip(fused[module], parameter.split(sizes), strict=True):
                slices[f"{parent}.{part}.{leaf}"] = view
        elif path == "visual.patch_embedding" and leaf == "weight":
            shape = (len(parameter), vision.num_channels, vision.patch_size, vision.patch_size)
            slices[f"{modules[path]}.{leaf}"] = parameter.view(shape)
        else:
            stored = modules.get(path, f"{parent}.{module}" if parent else module)
            slices[f"{stored}.{leaf}"] = parameter
    return slices


def save_model(model: PaddleOCRVL, file: Path, dtype: torch.dtype) -> None:
    """Write `model` as one safetensors file in the hub's layout."""
    prefixes = {ours: stored for stored, ours in HUB_LAYOUT.items()}
    tensors = {}
    for name, view in parameter_slices(model).items():
        ours = next(prefix for prefix in prefixes if name.startswith(prefix))
        stored = prefixes[ours] + name.removeprefix(ours)
        tensors[stored] = view.detach().to("cpu", dtype).contiguous().clone()
    save_file(tensors, file, metadata={"format": "pt"})
