"""Layout networks: images prepared and outputs read exactly as transformers' own processors do."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from models.detection import Detection
from models.layout.images import LayoutImageSettings
from models.layout.network import CLASSES, load_network
from models.layout.orientation import OrientationImageSettings
from models.layout.postprocess import choose, detections
from models.layout.unwarping import load_unwarping
from tests.imports import ROOT
from tests.layouts import (
    INPUT,
    LABELS,
    QUERIES,
    write_layout_checkpoint,
    write_orientation_checkpoint,
    write_unwarping_checkpoint,
)

PROGRAM = Path(__file__).with_name("layout_reference.py")
SIZES = ((1240, 1754), (161, 60), (INPUT, INPUT), (90, 2000))  # width, height: shrunk, enlarged, as it is, both
THRESHOLD = 0.5
Job = dict[str, Any]


def random_outputs(model_type: str, pages: int) -> dict[str, Tensor]:
    """Outputs of a network for `pages` pages: boxes that leave the page, masks of several spots, cyclic orders."""
    logits = torch.randn(pages, QUERIES, len(LABELS)) * 2
    orders = torch.randn(2, pages, QUERIES, QUERIES) * 3
    if model_type == "pp_doclayout_v4":
        boxes = torch.rand(pages, QUERIES, 10)
        names = ("relative_order_logits", "successor_order_logits")
        return {"logits": logits, "pred_boxes": boxes, **dict(zip(names, orders.unbind(), strict=True))}
    outputs = {"logits": logits, "pred_boxes": torch.rand(pages, QUERIES, 4), "order_logits": orders[0]}
    if model_type == "pp_doclayout_v3":
        noise = torch.randn(pages, QUERIES, INPUT // 4, INPUT // 4)
        outputs["out_masks"] = F.avg_pool2d(noise, 5, stride=1, padding=2)
    return outputs


def job(folder: Path, model_type: str) -> Job:
    torch.manual_seed(1)
    return {
        "model_type": model_type,
        "folder": str(write_layout_checkpoint(folder, model_type)),
        "images": [torch.randint(256, (height, width, 3), dtype=torch.uint8) for width, height in SIZES],
        "outputs": random_outputs(model_type, len(SIZES)),
        "sizes": [(height, width) for width, height in SIZES],
        "threshold": THRESHOLD,
    }


def upright_job(folder: Path, model_type: str) -> Job:
    torch.manual_seed(1)
    writers = {"pp_lcnet": write_orientation_checkpoint, "uvdoc": write_unwarping_checkpoint}
    grids = [F.affine_grid(torch.eye(2, 3)[None] * 0.9, [1, 1, 9, 7], align_corners=True) for _ in SIZES]
    return {
        "model_type": model_type,
        "folder": str(writers[model_type](folder)),
        "images": [torch.randint(256, (height, width, 3), dtype=torch.uint8) for width, height in SIZES],
        "outputs": {"meshes": torch.cat(grids).permute(0, 3, 1, 2) + 0.1 * torch.randn(len(SIZES), 2, 9, 7)},
    }


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Job, dict[str, Any]]]:
    """Jobs with transformers' results, by model type."""
    packages = next((ROOT / ".venv-clients" / "lib").glob("python*/site-packages"), None)
    assert packages, "scripts/setup_clients makes what this test needs"
    folder = tmp_path_factory.mktemp("layout")
    jobs = [job(folder / model_type, model_type) for model_type in CLASSES]
    jobs += [upright_job(folder / model_type, model_type) for model_type in ("pp_lcnet", "uvdoc")]
    torch.save(jobs, folder / "jobs")
    line: list[str | Path] = [sys.executable, PROGRAM, packages, folder / "jobs", folder / "results"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = torch.load(folder / "results")
    return {job["model_type"]: (job, result) for job, result in zip(jobs, results, strict=True)}


@pytest.mark.parametrize("model_type", CLASSES)
def test_images_are_prepared_as_transformers_does(
    model_type: str, answered: dict[str, tuple[Job, dict[str, Any]]]
) -> None:
    job, theirs = answered[model_type]
    images = [Image.fromarray(image.numpy()) for image in job["images"]]
    settings = LayoutImageSettings.read(Path(job["folder"]))
    ours = settings.prepare(images, rescale_first=model_type == "pp_doclayout_v4")
    assert torch.equal(ours, theirs["pixels"])


def found(outputs: dict[str, Tensor]) -> list[list[Detection]]:
    chosen = [choose(SimpleNamespace(**outputs), page, THRESHOLD) for page in range(len(SIZES))]
    return [detections(one, size, (INPUT, INPUT), LABELS) for one, size in zip(chosen, SIZES, strict=True)]


def columns(page: list[Detection]) -> dict[str, Tensor]:
    return {
        "scores": torch.tensor([one.score for one in page]),
        "labels": torch.tensor([list(LABELS.values()).index(one.label) for one in page]),
        "boxes": torch.tensor([one.box for one in page]),
        "order_seq": torch.tensor([one.order for one in page]),
    }


def better_first(page: dict[str, Any]) -> list[int]:
    """transformers sorts detections of one rank, thus of one query, either way round; ours has the better one first."""
    scores, ranks = page["scores"].tolist(), page["order_seq"].tolist()
    return sorted(range(len(ranks)), key=lambda place: (ranks[place], -scores[place]))


@pytest.mark.parametrize("model_type", CLASSES)
def test_detections_are_those_of_transformers(model_type: str, answered: dict[str, tuple[Job, dict[str, Any]]]) -> None:
    job, theirs = answered[model_type]
    pages = found(job["outputs"])
    assert all(len(page) > 5 for page in pages)
    for page, expected in zip(pages, theirs["pages"], strict=True):
        for name, ours in columns(page).items():
            assert torch.equal(ours, expected[name][better_first(expected)]), name


@pytest.mark.parametrize("model_type", ["pp_doclayout_v3", "pp_doclayout_v4"])
def test_polygons_are_those_of_transformers(model_type: str, answered: dict[str, tuple[Job, dict[str, Any]]]) -> None:
    job, theirs = answered[model_type]
    pages = found(job["outputs"])
    ours = [torch.tensor(one.polygon) for page in pages for one in page if one.polygon is not None]
    expected = [page["polygons"][place] for page in theirs["pages"] for place in better_first(page)]
    assert max(len(points) for points in expected) > (4 if model_type == "pp_doclayout_v3" else 3)
    for polygon, points in zip(ours, expected, strict=True):
        assert not len(points) or torch.equal(polygon, points)


@pytest.mark.parametrize("model_type", CLASSES)
def test_a_page_in_a_batch_has_the_blocks_that_it_has_alone(model_type: str, tmp_path: Path) -> None:
    network = load_network(write_layout_checkpoint(tmp_path, model_type), torch.device("cpu"))
    torch.manual_seed(2)
    images = [Image.fromarray(torch.randint(256, (90, side, 3), dtype=torch.uint8).numpy()) for side in (60, 300)]
    together = network.find(images, 0.3)
    assert together[0]
    for image, page in zip(images, together, strict=True):
        (alone,) = network.find([image], 0.3)
        assert [one.label for one in page] == [one.label for one in alone]
        torch.testing.assert_close(columns(page)["boxes"], columns(alone)["boxes"], rtol=1e-4, atol=1e-2)


def test_images_for_orientation_are_prepared_as_transformers_does(
    answered: dict[str, tuple[Job, dict[str, Any]]],
) -> None:
    job, theirs = answered["pp_lcnet"]
    settings = OrientationImageSettings.read(Path(job["folder"]))
    ours = [settings.prepare(Image.fromarray(image.numpy())) for image in job["images"]]
    assert torch.equal(torch.cat(ours), theirs["pixels"])


def test_flat_pages_are_those_of_transformers(answered: dict[str, tuple[Job, dict[str, Any]]]) -> None:
    job, theirs = answered["uvdoc"]
    network = load_unwarping(Path(job["folder"]), torch.device("cpu"))
    pages = [Image.fromarray(image.numpy()) for image in job["images"]]
    assert torch.equal(torch.cat([network.prepare(page) for page in pages]), theirs["pixels"])
    meshes = job["outputs"]["meshes"].split(1)
    for mesh, page, expected in zip(meshes, pages, theirs["pages"], strict=True):
        assert torch.equal(torch.from_numpy(np.array(network.flat(mesh, page))), expected)
