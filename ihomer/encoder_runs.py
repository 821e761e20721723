"""What the command ``encoder train`` does with a plan: an image encoder, trained, kept and gone on with."""

from __future__ import annotations

import importlib
import shutil
import signal
import time
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
from msgspec.structs import replace

from ihomer.plans import EncoderPlan
from ihomer.progress import Progress
from ihomer.runs import stopping
from streams.extraction.training.pictures import Pictures, decoded
from streams.extraction.training.record import TrainingRecord, read_record
from streams.extraction.training.settings import TrainingSettings
from streams.siblurry.labelled import load_events

_KEEP_S = 60.0
"""After so many seconds what is needed to go on is written: what is lost at most when the process dies."""


def train_encoder(plan: EncoderPlan, progress: Progress) -> tuple[dict[str, Any], bool] | None:
    """Train an encoder and keep it in a folder; what was done, and whether it was stopped by the user before its end.

    Ctrl-C and the limit of time end the training after the step in hand: the encoder is kept as it is, with what is
    needed to go on with ``plan.resume``. None where there is nothing to keep yet.

    Raises
    ------
    ImportError
        PyTorch or transformers are missing.
    ValueError
        The data do not do; the folder has other files; or what is to be gone on with is another training.
    """
    needs_extra()
    if plan.out.is_dir() and any(plan.out.iterdir()) and read_record(plan.out) is None:
        raise ValueError(f"{plan.out}: must be a new folder or one with an encoder that was trained here, got another")
    began = time.monotonic()
    with stopping(signal.SIGINT, signal.SIGTERM) as stop:
        pictures = _decoded(plan, progress, stop)
        if pictures is None:
            return None
        if plan.objective == "supervised" and not pictures.held_out:
            progress.note("labels of all classes are used: this encoder is for data of other classes alone")
        settings = TrainingSettings(
            objective=plan.objective,
            size=plan.size,
            patch=plan.patch,
            image_size=plan.image_size,
            epochs=plan.epochs,
            seed=plan.seed,
        )
        until = None if plan.max_minutes is None else began + 60 * plan.max_minutes
        record = _trained(plan, pictures, settings, progress, stop, until)
        if record is None:
            return None
        return {**_told(record), "out": str(plan.out)}, stop.is_set() and not record.finished


def state_file(out: Path) -> Path:
    """Where it is kept what is needed to go on with the training of a folder's encoder."""
    return out.with_name(f"{out.name}.training") / "state.pt"


def needs_extra() -> None:
    """Say which extra is missing, if one is.

    Raises
    ------
    ImportError
        PyTorch, transformers or Pillow is.
    """
    for module in ("PIL", "torch", "transformers"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            message = f"training an encoder needs the extra 'deep': pip install ihomer[deep] ({error})"
            raise ImportError(message) from error


def _decoded(plan: EncoderPlan, progress: Progress, stop: Event) -> Pictures | None:
    events = load_events(plan.data, images=True)
    if not events.has_payloads:
        raise ValueError(f"{events.name}: data must be images, a folder with a folder of them for each class, say")
    progress.begin(f"{events.name}, images", len(events.batch))
    try:

        def advance(n: int) -> bool:
            progress.advance(n, dict)
            return not stop.is_set()

        return decoded(events, plan.image_size, classes=plan.classes, hold_out=plan.hold_out, advance=advance)
    finally:
        progress.end()


def _trained(
    plan: EncoderPlan,
    pictures: Pictures,
    settings: TrainingSettings,
    progress: Progress,
    stop: Event,
    until: float | None,
) -> TrainingRecord | None:
    from streams.extraction.training.training import Training, chosen_device

    n_epochs = settings.epochs_of(len(pictures.pixels))
    if settings.objective == "responses":
        progress.begin(f"{pictures.name}, responses", len(pictures.pixels))

    def advance(n: int) -> bool:
        progress.advance(n, dict)
        return not stop.is_set()

    try:
        training = Training(pictures, settings, chosen_device(plan.device), advance)
        file = state_file(plan.out)
        if plan.resume and file.is_file():
            training.go_on(file)
            progress.note(f"{pictures.name}: going on after {training.steps:,} of {training.n_steps:,} steps")
        elif plan.resume and (before := _done_before(plan.out, training.record())) is not None:
            progress.note(f"{pictures.name}: done before")
            return before
        else:
            shutil.rmtree(file.parent, ignore_errors=True)
        progress.begin(f"{pictures.name}, training", training.n_steps * training.batch_size)
        kept = time.monotonic()
        while not training.finished and not stop.is_set() and (until is None or time.monotonic() < until):
            n_before = len(training.loss)
            training.step()
            progress.advance(training.steps * training.batch_size, dict)
            if len(training.loss) > n_before:
                progress.note(f"epoch {len(training.loss)} of {n_epochs}: loss {training.loss[-1]:.4f}")
            if time.monotonic() - kept > _KEEP_S:
                training.keep(file)
                kept = time.monotonic()
    except InterruptedError:
        return None
    finally:
        progress.end()
    training.save(plan.out)
    if training.finished:
        shutil.rmtree(file.parent, ignore_errors=True)
    else:
        training.keep(file)
    return training.record()


def _done_before(folder: Path, begun: TrainingRecord) -> TrainingRecord | None:
    """The record of the folder's encoder, if that is what the training would end with that begins now."""
    before = read_record(folder)
    if before is None or not before.finished or replace(before, steps=0, loss=[], finished=False) != begun:
        return None
    return before


def _told(record: TrainingRecord) -> dict[str, Any]:
    """A record as a JSON object."""
    told: dict[str, Any] = msgspec.to_builtins(record)
    return {**told, "text": record.text}
