"""Runs transformers' PP-DocLayout processors in a process of their own: with cv2 and scipy of another environment.

torchvision is installed in none. Its two functions that the processors use stand here as its source has them: a resize
of bytes without antialiasing is PyTorch's own. With torchvision 0.28.0 itself the images came out the same, bit by bit.

    layout_reference.py SITE_PACKAGES JOBS RESULTS
"""

import sys
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Interpolation = Enum("Interpolation", "NEAREST NEAREST_EXACT BOX BILINEAR HAMMING BICUBIC LANCZOS")


def resize(image: Tensor, size: tuple[int, int], interpolation: Enum, antialias: bool) -> Tensor:
    mode = interpolation.name.lower()
    return F.interpolate(image, size, mode=mode, align_corners=False, antialias=antialias)


def normalize(image: Tensor, mean: Any, std: Any, inplace: bool) -> Tensor:
    mean, std = (torch.as_tensor(values, dtype=image.dtype)[:, None, None] for values in (mean, std))
    return (image if inplace else image.clone()).sub_(mean).div_(std)


def crop(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    return image[..., top : top + height, left : left + width]


def stand_in_for_torchvision() -> None:
    names = (
        *("torchvision", "torchvision.transforms", "torchvision.transforms.v2"),
        *("torchvision.transforms.functional", "torchvision.transforms.v2.functional"),
    )
    contents = {
        "resize": resize,
        "normalize": normalize,
        "crop": crop,
        "InterpolationMode": Interpolation,
        "pil_to_tensor": None,
        "io": None,
        "__version__": "0.28.0",
        "__path__": [],
    }
    for name in names:
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(contents)
        sys.modules[name] = module
    vars(sys.modules["torchvision.transforms.v2"])["functional"] = sys.modules["torchvision.transforms.v2.functional"]


def images_of(job: dict[str, Any]) -> list[Image.Image]:
    return [Image.fromarray(image.numpy()) for image in job["images"]]


def own_processor(job: dict[str, Any]) -> Any:
    from transformers.models import pp_lcnet, uvdoc

    kinds: dict[str, Any] = {"pp_lcnet": pp_lcnet.PPLCNetImageProcessor, "uvdoc": uvdoc.UVDocImageProcessor}
    return kinds[job["model_type"]].from_pretrained(job["folder"])


def results(job: dict[str, Any]) -> dict[str, Any]:
    """What the processor of `job` makes of its images, and of its outputs of a network."""
    if job["model_type"] == "pp_lcnet":
        return {"pixels": own_processor(job)(images=images_of(job), return_tensors="pt")["pixel_values"]}
    if job["model_type"] == "uvdoc":
        processor = own_processor(job)
        inputs = processor(images=images_of(job), return_tensors="pt")
        pages = processor.post_process_document_rectification(job["outputs"]["meshes"], inputs["original_images"])
        return {"pixels": inputs["pixel_values"], "pages": [page["images"] for page in pages]}
    from transformers.models import pp_doclayout_v2, pp_doclayout_v3, pp_doclayout_v4

    kinds: dict[str, Any] = {
        "pp_doclayout_v2": pp_doclayout_v2.PPDocLayoutV2ImageProcessor,
        "pp_doclayout_v3": pp_doclayout_v3.PPDocLayoutV3ImageProcessor,
        "pp_doclayout_v4": pp_doclayout_v4.PPDocLayoutV4ImageProcessor,
    }
    processor = kinds[job["model_type"]].from_pretrained(job["folder"])
    outputs = type("Outputs", (), job["outputs"])
    pages = processor.post_process_object_detection(outputs, job["threshold"], job["sizes"])
    for page in pages:
        polygons = page.pop("polygon_points", None)
        if polygons is not None:  # transformers gives None for a mask whose every point was lost
            page["polygons"] = [
                torch.empty(0) if points is None else torch.tensor(points.tolist()) for points in polygons
            ]
    return {"pixels": processor(images=images_of(job), return_tensors="pt")["pixel_values"], "pages": pages}


if __name__ == "__main__":
    site_packages, jobs, answers = sys.argv[1:]
    sys.path.append(site_packages)  # at the end: numpy and the like are ours
    stand_in_for_torchvision()
    torch.save([results(job) for job in torch.load(jobs)], answers)
