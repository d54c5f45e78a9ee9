"""The trainer: model, auxiliary losses, optimizers, and its saved state."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.rope import prompt_positions
from training.batches import BINS, BLANK, CHECKPOINT, DETECTION_SHARE, NO_CELL, ROOT, Batch
from training.muon import Muon
from training.render_text import (
    ANSWER_CHARACTERS,
)

STATE = ROOT / "build" / "tiny" / "state.pt"


PEAK_RATES = {"muon": 0.02, "adam": 2e-3}


WARMUP_STEPS = 100


MISREAD_SHARE = 0.06  # share of the characters in an answer that is shown with errors


class Trainer:
    """Trains the model on batches, with two auxiliary losses, and saves its state."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.processor = Processor(CHECKPOINT)
        self.model = PaddleOCRVL(self.processor.config).to(device)
        self.model.text.place(device)
        hidden = self.processor.config.text_config.hidden_size
        self.detector = nn.Linear(hidden, BINS[0] * BINS[1] * (len(ANSWER_CHARACTERS) + 1)).to(device)
        initialise(self.model)
        named = list(self.model.named_parameters())
        hidden_layers = (
            "layers.",
            "projector.linear_2",
        )  # linear_1 is so square that orthogonalising it costs too much
        matrices = [p for name, p in named if p.ndim == 2 and any(part in name for part in hidden_layers)]
        chosen = set(map(id, matrices))
        others = [p for _, p in named if id(p) not in chosen] + list(self.detector.parameters())
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "muon": Muon(matrices),
            "adam": torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
        }
        # Products in bf16 made a step a fifth shorter on a CPU with bf16 units; without them they are slower.
        self.halved = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.step = self.images = 0
        self.elapsed = 0.0

    @property
    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "detector": self.detector, **self.optimizers}

    def rate(self, progress: float) -> float:
        """Share of the peak learning rate: linear warm-up, then a cosine down to nearly zero."""
        return min(1.0, (self.step + 1) / WARMUP_STEPS) * (0.01 + 0.495 * (1 + math.cos(math.pi * min(1.0, progress))))

    def train_step(self, batches: list[Batch], progress: float) -> dict[str, float]:
        guidance = 0.3 * max(0.0, 1 - progress)
        weights = {"text": 1.0, "detection": 1.0 if progress <= DETECTION_SHARE else guidance, "attention": guidance}
        seen: dict[str, float] = {}
        for batch in batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.halved):
                losses = self.losses(batch, whole=progress > DETECTION_SHARE)
            (torch.stack([weights[name] * loss for name, loss in losses.items()]).sum() / len(batches)).backward()
            for name, loss in losses.items():
                seen[name] = seen.get(name, 0.0) + loss.item() / len(batches)
            self.images += len(batch.pixels)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = PEAK_RATES[name] * self.rate(progress)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return seen

    def losses(self, batch: Batch, *, whole: bool) -> dict[str, Tensor]:
        count, (rows, columns) = len(batch.pixels), batch.grid
        pixels = torch.from_numpy(batch.pixels).to(self.device).float().div(127.5).sub(1)
        patches = pixels.view(count, rows, 14, columns, 14, 3).permute(0, 1, 3, 5, 2, 4).flatten(0, 2)
        features = torch.stack(self.model.encode(patches, [batch.grid] * count))  # (B, C, hidden)
        found = self.detector(features).unflatten(-1, (BINS[0] * BINS[1], -1))
        weight = torch.ones(len(ANSWER_CHARACTERS) + 1, device=self.device)
        weight[BLANK] = 0.1
        bins = torch.from_numpy(batch.bins).to(self.device)
        losses = {"detection": F.cross_entropy(found.flatten(0, 2), bins.flatten(), weight=weight)}
        return losses | self.text_losses(batch, features) if whole else losses

    def text_losses(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        count, cells = features.shape[:2]
        content = [{"type": "image"}, {"type": "text", "text": batch.prompt}]
        prompt = self.processor.prompt_ids([{"role": "user", "content": content}], [batch.grid])
        start = prompt.index(self.model.image_token_id)
        answers = torch.from_numpy(batch.answers).to(self.device)
        read = self.misread(answers[:, :-1])
        ids = torch.cat((torch.tensor(prompt, device=self.device).expand(count, -1), read), dim=1)
        positions, following = prompt_positions(prompt, [batch.grid], self.model.image_token_id, 2)
        answer_positions = torch.arange(following, following + answers.shape[1] - 1).expand(3, -1)
        positions = torch.cat((positions, answer_positions), dim=1).to(self.device).repeat(1, count)
        attention = TrainingAttention(count, len(prompt) - 1, range(start, start + cells))
        x = self.model.embed(ids.flatten(), features.unbind())
        hidden = self.model.decode(x, positions, attention).unflatten(0, (count, -1))
        logits = self.model.logits(hidden[:, len(prompt) - 1 :])  # (B, T, vocabulary)
        padding = self.processor.pad_token_id
        text = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=padding)
        following_cells = torch.from_numpy(batch.cells).to(self.device)
        read_cells = F.pad(following_cells[:, :-1], (1, 0), value=NO_CELL)  # row t has just read character t - 1
        guided = attention.guidance(1, read_cells) + attention.guidance(2, following_cells)
        return {"text": text, "attention": guided}

    def misread(self, answers: Tensor) -> Tensor:
        """Inputs with a few wrong characters in every second answer, so an error does not cost the model its place.

        Nougat is trained so against endless repetition (Blecher et al. 2023, arXiv:2308.13418, section 5.4).
        """
        chosen = torch.rand(len(answers), 1, device=answers.device) < 0.5
        wrong = chosen & (torch.rand(answers.shape, device=answers.device) < MISREAD_SHARE)
        others = answers.flatten()[torch.randperm(answers.numel(), device=answers.device)].view_as(answers)
        return torch.where(wrong & (answers != self.processor.pad_token_id), others, answers)

    def save(self) -> None:
        STATE.parent.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"step": self.step, "images": self.images, "elapsed": self.elapsed}
        torch.save(state, STATE.with_suffix(".new"))
        STATE.with_suffix(".new").replace(STATE)

    def resume(self) -> None:
        state = torch.load(STATE, map_location=self.device, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.step, self.images, self.elapsed = state["step"], state["images"], state["elapsed"]


class TrainingAttention:
    """Causal attention over whole sequences of equal length; it records what the guided heads attend to."""

    GUIDED_HEAD: ClassVar = {1: 0, 2: 2}  # layer -> query head

    def __init__(self, count: int, first_row: int, image: range) -> None:
        self.count, self.first_row, self.image = count, first_row, image
        self.seen: dict[int, Tensor] = {}  # layer -> (B, T, C) probabilities of the answer rows on the image

    def __call__(self, layer: int, q: Tensor, kv: Tensor) -> Tensor:
        q, k, v = (x.unflatten(0, (self.count, -1)).transpose(1, 2) for x in (q, *kv.chunk(2, dim=1)))
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if layer in self.GUIDED_HEAD:
            head = self.GUIDED_HEAD[layer]
            rows = q[:, head, self.first_row :] * q.shape[-1] ** -0.5
            scores = rows @ k[:, head].transpose(1, 2)
            future = torch.arange(k.shape[2], device=q.device) > torch.arange(
                self.first_row, k.shape[2], device=q.device
            ).unsqueeze(1)
            scores = scores.masked_fill(future, float("-inf")).log_softmax(-1)
            self.seen[layer] = scores[:, :, self.image.start : self.image.stop]
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(0, 1)

    def guidance(self, layer: int, cells: Tensor) -> Tensor:
        """Mean negative log probability of the right cell; cells: (B, T), NO_CELL for none."""
        picked = self.seen[layer].gather(2, cells.clamp(min=0).unsqueeze(2)).squeeze(2)
        known = cells != NO_CELL
        return -(picked * known).sum() / known.sum()


def initialise(model: PaddleOCRVL) -> None:
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        deep = name.endswith(("o_proj.weight", "down_proj.weight", "out_proj.weight", "fc2.weight"))
        scale = 0.02 if "embed" in name else (0.4 if deep else 1.0) / math.sqrt(parameter.shape[1])
        nn.init.normal_(parameter, std=scale)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
