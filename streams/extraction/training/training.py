"""The training of an image encoder, step by step: it can be stopped after any, kept, and gone on with."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from transformers import ViTConfig, ViTModel

from streams.extraction.encoders.transformers import no_progress_bar
from streams.extraction.training.objectives import Responses, Supervised, Views
from streams.extraction.training.pictures import Pictures
from streams.extraction.training.record import TrainingRecord, whole_digest
from streams.extraction.training.responses import responses, whitened_patches
from streams.extraction.training.settings import SIZES, TrainingSettings
from streams.extraction.training.views import DEVIATION, MEAN, rate
from streams.whole_file import write_whole

_PATCHES, _TARGETS = 256, 256
_HIGHEST_RATE, _DECAY = 1e-3, 0.03
_BILINEAR = 2
"""What Pillow calls it."""


class Training:
    """Trains a vision transformer on images.

    Parameters
    ----------
    pictures
        What to train on; labels are used by the objective ``supervised`` alone.
    settings
        All that the weights depend on beside.
    device
        ``cpu`` or ``cuda``.
    advance
        Told how many images have been prepared for the objective ``responses``; False gives up.

    Raises
    ------
    InterruptedError
        It was given up.

    Notes
    -----
    The images of a step, its views and its learning rate follow from the seed and the step's number, so that a training
    that was stopped and gone on with gives the weights of one that was not, to the bit, on the same machine. The first
    layer starts as random patches of the images, whitened; the features are the first token, which the model's pooled
    output is, too.
    """

    def __init__(
        self,
        pictures: Pictures,
        settings: TrainingSettings,
        device: str = "cpu",
        advance: Callable[[int], bool] = lambda n: True,
    ) -> None:
        self._pictures, self.settings, self._device = pictures, settings, torch.device(device)
        self.digest = whole_digest(pictures.seen)
        n = len(pictures.pixels)
        self.batch_size = min(settings.batch_size, n)
        self.steps_an_epoch = n // self.batch_size
        self.n_steps = self.steps_an_epoch * settings.epochs_of(n)
        self.steps = 0
        self.loss: list[float] = []
        self._sum = 0.0
        # Copied, for what is laid out channel by channel is cut faster.
        self._pixels = torch.from_numpy(np.ascontiguousarray(pictures.pixels.transpose(0, 3, 1, 2)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = _model(pictures, settings)
            self._objective = _objective(pictures, settings, self.model.config.hidden_size, advance)
        self.model.to(self._device).train()
        self._objective.to(self._device).train()
        self._parameters = [
            one for one in [*self.model.parameters(), *self._objective.parameters()] if one.requires_grad
        ]
        self._optimizer = torch.optim.AdamW(self._parameters, _HIGHEST_RATE, betas=(0.9, 0.95), weight_decay=_DECAY)
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    @property
    def finished(self) -> bool:
        """Whether all steps were taken."""
        return self.steps >= self.n_steps

    def step(self) -> None:
        """Take one step."""
        epoch, turn = divmod(self.steps, self.steps_an_epoch)
        if epoch != self._epoch:
            seed = [self.settings.seed, 1, epoch]
            self._epoch, self._order = epoch, np.random.default_rng(seed).permutation(len(self._pixels))
        rows = torch.from_numpy(self._order[turn * self.batch_size : (turn + 1) * self.batch_size])
        drawn = np.random.SeedSequence([self.settings.seed, 2, self.steps]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(drawn[0] >> 1))
        for group in self._optimizer.param_groups:
            group["lr"] = rate(self.steps, self.n_steps, _HIGHEST_RATE)
        loss = self._objective(self._encode, self._pixels[rows].to(self._device), rows, generator)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self.steps += 1
        self._sum += float(loss.detach())
        if turn + 1 == self.steps_an_epoch:
            self.loss.append(self._sum / self.steps_an_epoch)
            self._sum = 0.0

    def _encode(self, views: Any) -> Any:
        return self.model(views).last_hidden_state[:, 0]

    def record(self) -> TrainingRecord:
        """What it was trained on so far."""
        pictures, settings = self._pictures, self.settings
        return TrainingRecord(
            data=pictures.name,
            digest=self.digest,
            objective=settings.objective,
            classes=pictures.classes,
            labelled_classes=pictures.classes if settings.objective == "supervised" else [],
            held_out=pictures.held_out,
            n_images=len(pictures.pixels),
            size=settings.size,
            patch=settings.patch,
            image_size=settings.image_size,
            seed=settings.seed,
            batch_size=self.batch_size,
            epochs=settings.epochs_of(len(pictures.pixels)),
            steps=self.steps,
            finished=self.finished,
            loss=[round(value, 6) for value in self.loss],
        )

    def save(self, folder: Path) -> None:
        """Write the encoder as it is now, for transformers to load, with its record."""
        folder.mkdir(parents=True, exist_ok=True)
        with no_progress_bar():
            self.model.save_pretrained(folder)
        write_whole(folder / "preprocessor_config.json", json.dumps(self._preparation(), indent=2).encode() + b"\n")
        self.record().save(folder, np.sort(self._pictures.seen))

    def _preparation(self) -> dict[str, Any]:
        """What is done with an image before the network gets it."""
        side = self.settings.image_size
        return {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": side, "width": side},
            "resample": _BILINEAR,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [MEAN] * 3,
            "image_std": [DEVIATION] * 3,
        }

    def keep(self, file: Path) -> None:
        """Write all that is needed to go on."""
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.partial")
        state = {
            "settings": self._told(),
            "model": self.model.state_dict(),
            "objective": self._objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "steps": self.steps,
            "loss": self.loss,
            "sum": self._sum,
        }
        torch.save(state, partial)
        os.replace(partial, file)

    def go_on(self, file: Path) -> None:
        """Take over what ``keep`` has written.

        Raises
        ------
        ValueError
            It is from another training.
        """
        state = torch.load(file, map_location=self._device, weights_only=True)
        here = self._told()
        for name, there in state["settings"].items():
            if here[name] != there:
                rule = f"{name} must be that of the training to go on with, {there!r}"
                raise ValueError(f"{file}: {rule}, got {here[name]!r}")
        self.model.load_state_dict(state["model"])
        self._objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.steps, self.loss, self._sum = state["steps"], state["loss"], state["sum"]

    def _told(self) -> dict[str, Any]:
        """What must be the same for a training to be gone on with."""
        told: dict[str, Any] = msgspec.structs.asdict(self.settings)
        return {**told, "epochs": self.settings.epochs_of(len(self._pixels)), "images": self.digest}


def _model(pictures: Pictures, settings: TrainingSettings) -> Any:
    """An untrained transformer whose first layer is made of whitened patches."""
    shape = SIZES[settings.size]
    model = ViTModel(
        ViTConfig(
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=2 * shape.width,
            image_size=settings.image_size,
            patch_size=settings.patch,
            pooler_act="linear",
        )
    )
    random = np.random.default_rng([settings.seed, 3])

    def prepare(rows: Any) -> Any:
        return (rows / np.float32(255) - np.float32(MEAN)) / np.float32(DEVIATION)

    mean, whiten, patches = whitened_patches(pictures.pixels, settings.patch, shape.width, random, prepare)
    filters = patches @ whiten.T
    with torch.no_grad():
        first = model.embeddings.patch_embeddings.projection
        first.weight.copy_(torch.from_numpy(filters.reshape(first.weight.shape)))
        first.bias.copy_(torch.from_numpy(-(filters @ mean)))
        model.embeddings.position_embeddings.normal_(std=0.2)
        model.pooler.dense.weight.copy_(torch.eye(shape.width))
        model.pooler.dense.bias.zero_()
    model.pooler.requires_grad_(False)
    return model


def _objective(
    pictures: Pictures, settings: TrainingSettings, width: int, advance: Callable[[int], bool]
) -> torch.nn.Module:
    if settings.objective == "supervised":
        return Supervised(width, pictures.codes)
    if settings.objective == "views":
        return Views(width)
    random = np.random.default_rng([settings.seed, 4])
    targets = responses(pictures.pixels, _PATCHES, _TARGETS, random, advance)
    if targets is None:
        raise InterruptedError("the training was given up while responses were taken")
    return Responses(width, targets)


def chosen_device(name: str) -> str:
    """``cpu`` or ``cuda``, for a setting that may be ``auto``; in place of a GPU that is not there the processor."""
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        warnings.warn(
            "device must be a GPU that PyTorch can use, found none: the CPU trains", RuntimeWarning, stacklevel=2
        )
    return "cuda" if found and name != "cpu" else "cpu"
