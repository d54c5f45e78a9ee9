"""The trainer of the embedded checkpoint: model, losses, optimizers and saved state.

Next-token loss alone does not learn to align text and image within an hour on two cores. Two auxiliary losses, whose
parameters are discarded afterwards, learned it in half an hour; their labels exist because the renderer knows the
position of every character:

- detection: every image token predicts which characters have their centre in each of its 16 bins;
- guided attention: one head attends to the image token of the last character read, and one head of the next layer to
  that of the next character.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.rope import prompt_positions
from models.paddleocr_vl.weights import fill, save_model
from models.protocol import Sliced
from training.batches import BINS, BLANK, BLOCKS_AT, DETECTION_SHARE, NO_IMAGE_TOKEN, PATCH, Batch
from training.guided_attention import GuidedAttention
from training.muon import Muon
from training.render_text import ANSWER_CHARACTERS

PEAK_RATES = {"muon": 0.02, "adam": 2e-3}
WARMUP_STEPS = 50
VISION_EVERY = 2  # steps; by the time blocks begin, the vision tower has less to learn than the decoder
DETACHED_STEPS = 50  # when training continues from finished weights
AVERAGE_KEEPS = 0.995  # share of the averaged weights that a step keeps; the average reads better than the last weights
ERROR_SHARE = 0.06  # share of wrong characters in the input of an answer that is shown with errors


class Trainer:
    """The model in training together with its auxiliary detector, its optimizers and its step counters."""

    def __init__(self, checkpoint: Path, device: torch.device) -> None:
        self.device = device
        self.processor = Processor(checkpoint)
        self.model = PaddleOCRVL(self.processor.config).to(device)
        self.model.text.place(device)
        hidden = self.processor.config.text_config.hidden_size
        self.detector = nn.Linear(hidden, BINS[0] * BINS[1] * (len(ANSWER_CHARACTERS) + 1)).to(device)
        initialise(self.model)
        named = list(self.model.named_parameters())
        # projector.linear_1 is left to AdamW: it is so square that orthogonalising it costs too much.
        hidden_layers = ("layers.", "projector.linear_2")
        matrices = [p for name, p in named if p.ndim == 2 and any(part in name for part in hidden_layers)]
        chosen = set(map(id, matrices))
        others = [p for _, p in named if id(p) not in chosen] + list(self.detector.parameters())
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "muon": Muon(matrices),
            "adam": torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
        }
        # Products in bf16 made a step a fifth shorter on a CPU with bf16 units; without them they are slower.
        self.bfloat16 = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        if device.type == "cuda":
            self.model.visual.full_attention = full_with_gradient
        elif self.bfloat16:
            self.model.visual.full_attention = full_in_float32
        self.step = self.images = 0
        self.elapsed = 0.0  # seconds of training, earlier runs included
        self.detached_steps = 0  # first steps in which the detector learns from features that it does not change
        self.average = [parameter.detach().clone() for parameter in self.model.parameters()]

    @property
    def parts(self) -> dict[str, Any]:
        """Everything with a state to save, by its name in the file."""
        return {"model": self.model, "detector": self.detector, **self.optimizers}

    def start_from(self, checkpoint: Path) -> None:
        """Begin with a checkpoint's weights; the detector, which it lacks, first learns alone."""
        fill(self.model, checkpoint)
        self.average = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.detached_steps = DETACHED_STEPS

    def rate(self, progress: float) -> float:
        """Share of the peak learning rate: linear warm-up, then a cosine down to 1 %."""
        return min(1.0, (self.step + 1) / WARMUP_STEPS) * (0.01 + 0.495 * (1 + math.cos(math.pi * min(1.0, progress))))

    def train_step(self, batches: list[Batch], progress: float) -> dict[str, Tensor]:
        """One optimizer step over all batches; returns the mean of each loss, still on its way on a GPU."""
        guidance = 0.3 * max(0.0, 1 - progress)
        weights = {
            "text": 1.0,
            "detection": 1.0 if progress <= DETECTION_SHARE else guidance,
            "attention": min(0.3, 3 * guidance),
        }
        with_vision = progress < BLOCKS_AT or self.step % VISION_EVERY == 0
        means: dict[str, Tensor] = {}
        for batch in batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                losses = self.losses(batch, with_text=progress > DETECTION_SHARE, with_vision=with_vision)
            (torch.stack([weights[name] * loss for name, loss in losses.items()]).sum() / len(batches)).backward()
            for name, loss in losses.items():
                means[name] = means.get(name, torch.zeros_like(loss)) + loss.detach() / len(batches)
            self.images += len(batch.pixels)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = PEAK_RATES[name] * self.rate(progress)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(AVERAGE_KEEPS, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.model.parameters()), 1 - keep)
        return means

    def losses(self, batch: Batch, *, with_text: bool, with_vision: bool) -> dict[str, Tensor]:
        """The losses of a batch by name: detection always, the decoder's only `with_text`.

        Without `with_vision` no gradient reaches the vision tower, which saves two fifths of the time.
        """
        count, (rows, columns) = len(batch.pixels), batch.grid
        pixels = batch.pixels.to(self.device).float().div(127.5).sub(1)
        patches = pixels.view(count, rows, PATCH, columns, PATCH, 3).permute(0, 1, 3, 5, 2, 4).flatten(0, 2)
        with torch.set_grad_enabled(with_vision):
            features = torch.stack(self.model.encode(patches, [batch.grid] * count))  # (B, C, hidden)
        seen = features.detach() if self.step < self.detached_steps else features
        logits = self.detector(seen).unflatten(-1, (BINS[0] * BINS[1], -1))  # (B, C, bins, classes)
        weight = torch.ones(len(ANSWER_CHARACTERS) + 1, device=self.device)
        weight[BLANK] = 0.1
        bins = batch.bins.to(self.device)
        losses = {"detection": F.cross_entropy(logits.flatten(0, 2), bins.flatten(), weight=weight)}
        return losses | self.text_losses(batch, features) if with_text else losses

    def text_losses(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """Next-token and guided-attention loss; features: (B, C, hidden)."""
        count, image_size = features.shape[:2]
        content = [{"type": "image"}, {"type": "text", "text": batch.prompt}]
        prompt = self.processor.prompt_ids([{"role": "user", "content": content}], [batch.grid])
        start = prompt.index(self.model.image_token_id)
        answers = batch.answers.to(self.device)
        inputs = self.with_errors(answers[:, :-1])
        ids = torch.cat((torch.tensor(prompt, device=self.device).expand(count, -1), inputs), dim=1)
        positions, following = prompt_positions(prompt, [batch.grid], self.model.image_token_id, 2)
        answer_positions = torch.arange(following, following + answers.shape[1] - 1).expand(3, -1)
        positions = torch.cat((positions, answer_positions), dim=1).to(self.device).repeat(1, count)
        attention = GuidedAttention(count, len(prompt) - 1, range(start, start + image_size))
        x = self.model.embed(ids.flatten(), features.unbind())
        hidden = self.model.decode(x, positions, attention).unflatten(0, (count, -1))
        logits = self.model.logits(hidden[:, len(prompt) - 1 :])  # (B, T, vocabulary)
        padding = self.processor.pad_token_id
        text = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=padding)
        of_next = batch.image_tokens.to(self.device)  # row t predicts character t
        of_last = F.pad(of_next[:, :-1], (1, 0), value=NO_IMAGE_TOKEN)  # and has just read character t - 1
        return {"text": text, "attention": attention.loss(1, of_last) + attention.loss(2, of_next)}

    def with_errors(self, answers: Tensor) -> Tensor:
        """`answers` with a few wrong characters in every second one, so that one misreading does not derail the rest.

        Nougat's training does the same against endless repetition (Blecher et al. 2023, arXiv:2308.13418, section 5.4).
        """
        chosen = torch.rand(len(answers), 1, device=answers.device) < 0.5
        wrong = chosen & (torch.rand(answers.shape, device=answers.device) < ERROR_SHARE)
        others = answers.flatten()[torch.randperm(answers.numel(), device=answers.device)].view_as(answers)
        return torch.where(wrong & (answers != self.processor.pad_token_id), others, answers)

    def save(self, file: Path) -> None:
        """Write the whole training state; an interruption leaves the earlier file intact."""
        file.parent.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"step": self.step, "images": self.images, "elapsed": self.elapsed, "average": self.average}
        torch.save(state, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)

    def resume(self, file: Path) -> None:
        """Load the state that `save` wrote."""
        state = torch.load(file, map_location=self.device, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.average = state["average"]
        self.step, self.images, self.elapsed = state["step"], state["images"], state["elapsed"]

    def save_average(self, file: Path) -> None:
        """Write the averaged weights as a checkpoint's."""
        with torch.no_grad():
            for parameter, average in zip(self.model.parameters(), self.average, strict=True):
                parameter.copy_(average)
        save_model(self.model, file, torch.bfloat16)


def full_with_gradient(q: Tensor, k: Tensor, v: Tensor, queries: int | None) -> Sliced[Tensor]:  # noqa: ARG001
    """`FullAttention` by an operation that PyTorch can differentiate, which the server's own on a GPU is not."""
    yield
    return F.scaled_dot_product_attention(q, k, v)


def full_in_float32(q: Tensor, k: Tensor, v: Tensor, queries: int | None) -> Sliced[Tensor]:  # noqa: ARG001 - one slice
    """`FullAttention` in fp32: in bf16 the backward pass of PyTorch 2.13 took four times as long on a CPU."""
    with torch.autocast(q.device.type, enabled=False):
        output = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    yield
    return output.to(q.dtype)


def initialise(model: PaddleOCRVL) -> None:
    """Fill the model with random weights; one-dimensional weights keep the values of their constructor."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        deep = name.endswith(("o_proj.weight", "down_proj.weight", "out_proj.weight", "fc2.weight"))
        scale = 0.02 if "embed" in name else (0.4 if deep else 1.0) / math.sqrt(parameter.shape[1])
        nn.init.normal_(parameter, std=scale)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
