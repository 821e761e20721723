"""MVP and other prompt learners beside fine-tuning and heads on the same frozen network, in Si-Blurry, three seeds.

Streams are short, for on a processor a prompt learner takes a hundredth of a second an event and more: 800 images of
CIFAR-10 (ten classes) and 240 comments of GoEmotions (the eight most frequent emotions, one a comment). All learners
are on the same streams, and deep ones in the same blocks with as many steps, smaller ones than published, or else there
would be a dozen steps in all. Images are seen by a small transformer of our own, trained in the suite without labels on
other images; texts by all-MiniLM-L6-v2.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from benchmarks.extras import SENTENCES, have
from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.over_seeds import over_seeds
from benchmarks.tables import amount, table
from benchmarks.targets import Ratio
from ihomer.evaluation.result import METRICS
from ihomer.specs import build
from streams.batch import COMPLETE, Batch, Rows, Schema
from streams.extraction.encoding import Encoder
from streams.extraction.pool import ExtractionPool
from streams.siblurry.features import with_features
from streams.siblurry.labelled import LabelledEvents, load_events

COMMON = {"images": "block=16,steps=3,device=cpu", "text": "block=8,steps=1,device=cpu"}
"""Every deep learner has the same blocks and as many steps a block."""

DEEP = {
    "fine-tuning, head": "finetune",
    "fine-tuning, all": "finetune:train=all",
    "replay": "replay:memory=200",
    "L2P": "l2p",
    "DualPrompt": "dualprompt",
    "MVP": "mvp",
    "MVP, as published code": "mvp:variant=paper",
    "MVP with replay": "mvp:memory=200",
}
"""What tables call the learners of payloads, and what the command line does, less the model."""

PARTS = {
    "fine-tuning, head": "finetune",
    "MVP": "mvp",
    "one key": "mvp:keys=1",
    "prompts of one token": "mvp:g_length=0,e_length=1",
    "prefixes": "mvp:insertion=prefix",
    "no focal weight": "mvp:alpha=0",
    "none of these": "mvp:keys=1,g_length=0,e_length=1,alpha=0",
    "a fifth of the rate": "mvp:rate=0.001",
    "four times the rate": "mvp:rate=0.02",
}
"""MVP with one thing changed, on images, beside what it is to be above."""

HEADS = {"auto": "auto", "SLDA": "slda"}

MVP, OURS = "MVP", "auto"
BELOW = ("fine-tuning, head", "fine-tuning, all", "L2P", "DualPrompt")
"""What MVP is to be above in A_auc, as published."""

FASTER = 100
"""How many times as fast as MVP the head is to learn."""

SHOWN = ("a_auc", "a_last", "f_last")
SEEDS, QUICK_SEEDS = (1, 2, 3), (1, 2)

IMAGES_EACH, IMAGES_HELD, IMAGES_UNLABELLED, EPOCHS = 80, 20, 3000, 2
"""Images of a class in a stream, those set aside, and those that the encoder is trained on, which are other ones, so
many times."""

N_EMOTIONS, TEXTS_EACH, TEXTS_HELD = 8, 30, 8

PROBED_EACH = 400
"""Labelled images of a class for the linear probe of an encoder."""


def cells() -> list[Cell]:
    """A cell for the encoder, one for each kind of payload, and one for the parts of MVP."""
    ratio = Ratio(OURS, MVP, FASTER)
    return [
        Cell("encoder", "cifar10_tiny_v1", _build_encoders, unit="s", metrics=("probe_accuracy",), repeats=1),
        Cell("images", "cifar10_v1", _build_images, targets=[ratio], metrics=SHOWN, repeats=1),
        Cell("text", "goemotions_v1", _build_texts, targets=[ratio], metrics=SHOWN, repeats=1),
        Cell("parts", "cifar10_v1", _build_parts, metrics=SHOWN, repeats=1),
    ]


# Encoders.


def _build_encoders(setting: Setting) -> Sequence[Contestant]:
    have("deep")
    note = f"{10 * _unlabelled(setting):,} images without labels, then ridge regression on {10 * PROBED_EACH:,} with"
    return [
        Contestant("untrained", partial(_probe, setting, None), note=note),
        *(Contestant(name, partial(_probe, setting, name)) for name in ("responses", "views")),
    ]


def _unlabelled(setting: Setting) -> int:
    return IMAGES_UNLABELLED // 10 if setting.quick else IMAGES_UNLABELLED


def _probe(setting: Setting, objective: str | None, clock: Clock) -> Quality:
    """Train an encoder and let a linear classifier tell the classes by its features."""
    from streams.extraction.encoders.transformers import TransformersEncoder

    folder = _cache(setting) if objective == "responses" else setting.folder / str(objective)
    with clock:
        _train(setting, objective or "responses", folder, clock, untrained=objective is None)
    clock.report(max(clock.seconds, 1e-9), 1)
    encoder = TransformersEncoder(str(folder), device="cpu")
    kept, aside = _cifar()
    sides = []
    for events, start, stop in ((kept, 0, PROBED_EACH), (aside, 0, 100)):
        part = _of_ranks(events, start, stop)
        assert part.payload is not None, "images are payloads"
        sides.append((_encoded(encoder, part.payload), part.y.indices))
    (x, y), (x_aside, y_aside) = sides
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    x, x_aside = (x - mean) / deviation, (x_aside - mean) / deviation
    truth = np.eye(10)[y] - 0.1
    weights = np.linalg.solve(x.T @ x + 300 * np.eye(x.shape[1]), x.T @ truth)
    return {"probe_accuracy": float(((x_aside @ weights).argmax(1) == y_aside).mean())}


def _train(setting: Setting, objective: str, folder: Path, clock: Clock, *, untrained: bool = False) -> None:
    """Train an encoder on images that no stream has."""
    from streams.extraction.training.pictures import decoded
    from streams.extraction.training.settings import TrainingSettings
    from streams.extraction.training.training import Training

    kept, _ = _cifar()
    start = max(PROBED_EACH, IMAGES_EACH)
    others = replace(kept, batch=_of_ranks(kept, start, start + _unlabelled(setting)), test=None)
    pictures = decoded(others, 32)
    assert pictures is not None, "nobody gave up"
    epochs = 1 if setting.quick else EPOCHS
    training = Training(pictures, TrainingSettings(objective=objective, size="tiny", patch=8, epochs=epochs))
    while not training.finished and not untrained:
        training.step()
        clock.count(0)
    training.save(folder)


def _cache(setting: Setting) -> Path:
    """Where the encoder of the streams is kept."""
    folder = Path(os.environ.get("IHOMER_ENCODERS") or platformdirs.user_cache_path("ihomer") / "encoders")
    return folder / f"cifar10-tiny-{'quick' if setting.quick else 'full'}-v1"


def _kept_encoder(setting: Setting) -> Path:
    """The encoder of the streams, trained where it is not there."""
    folder = _cache(setting)
    if not (folder / "training.json").is_file():
        _train(setting, "responses", folder, Clock(3600))
    return folder


def _encoded(encoder: Encoder, payloads: Sequence[Any]) -> NDArray[np.float64]:
    with ExtractionPool(encoder) as pool:
        return np.array(list(pool.map(payloads)), np.float64)


# Streams.


_CIFAR: list[LabelledEvents] = []


def _cifar() -> tuple[LabelledEvents, LabelledEvents]:
    """All images of CIFAR-10 for training, and all set aside, as events each."""
    if not _CIFAR:
        whole = load_events("cifar10-jpeg")
        assert whole.test is not None, "the archive has a part for testing"
        _CIFAR.extend([replace(whole, test=None), replace(whole, batch=whole.test, test=None)])
    return _CIFAR[0], _CIFAR[1]


def _of_ranks(events: LabelledEvents, start: int, stop: int) -> Batch:
    """The events of each class from a number on and before another, in the order of the data."""
    codes = events.classes(events.batch)
    rank = np.empty(len(codes), np.int64)
    for code in np.unique(codes):
        mine = np.flatnonzero(codes == code)
        rank[mine] = np.arange(len(mine))
    return events.batch.take(np.flatnonzero((rank >= start) & (rank < stop)))


def images(quick: bool) -> LabelledEvents:
    """The first images of each class of CIFAR-10, and the first of those set aside."""
    kept, aside = _cifar()
    each, held = (IMAGES_EACH // 4, IMAGES_HELD // 3) if quick else (IMAGES_EACH, IMAGES_HELD)
    return LabelledEvents("cifar10", _of_ranks(kept, 0, each), _of_ranks(aside, 0, held))


def texts(quick: bool) -> LabelledEvents:
    """The first comments with one emotion alone, of the most frequent emotions."""
    each, held = (TEXTS_EACH // 2, TEXTS_HELD // 2) if quick else (TEXTS_EACH, TEXTS_HELD)
    batch = load_events("goemotions-train").batch
    single = batch.take(np.flatnonzero(np.diff(batch.y.indptr) == 1))
    counts = np.bincount(single.y.indices, minlength=batch.schema.n_labels)
    chosen = np.argsort(-counts, kind="stable")[:N_EMOTIONS]
    names = [batch.schema.label_names[label] for label in chosen]
    rows = [np.flatnonzero(single.y.indices == label) for label in chosen]

    def part(start: int, stop: int) -> Batch:
        taken = np.concatenate([mine[start:stop] for mine in rows])
        codes = np.repeat(np.arange(len(rows), dtype=np.int32), stop - start)
        assert single.payload is not None, "comments are payloads"
        return Batch(
            Schema([], names),
            np.zeros((len(taken), 0), np.float32),
            Rows(np.arange(len(taken) + 1), codes),
            np.full(len(taken), COMPLETE, np.uint8),
            payload=[single.payload[row] for row in taken],
        )

    return LabelledEvents("goemotions", part(0, each), part(each, each + held))


def featured(events: LabelledEvents, encoder: Encoder) -> tuple[LabelledEvents, float]:
    """The same events with the features that the frozen network makes of them, and the seconds that one took."""
    assert events.test is not None, "some are set aside"
    with ExtractionPool(encoder) as pool:
        began = time.perf_counter()
        found = with_features(events, pool)
        seconds = time.perf_counter() - began
    assert found is not None, "nobody gave up"
    return found, seconds / (len(events.batch) + len(events.test))


# Contestants.


def _build_images(setting: Setting) -> Sequence[Contestant]:
    have("deep")
    from streams.extraction.encoders.transformers import TransformersEncoder

    model = str(_kept_encoder(setting))
    encoder = TransformersEncoder(model, device="cpu")
    return _contestants(images(setting.quick), encoder, f"model={model},{COMMON['images']}", setting)


def _build_texts(setting: Setting) -> Sequence[Contestant]:
    have("deep")
    have("sentence")
    from streams.extraction.encoders.sentence import SentenceEncoder

    return _contestants(
        texts(setting.quick), SentenceEncoder(SENTENCES), f"model={SENTENCES},{COMMON['text']}", setting
    )


def _build_parts(setting: Setting) -> Sequence[Contestant]:
    have("deep")
    common = f"model={_kept_encoder(setting)},{COMMON['images']}"
    return _deep(images(setting.quick), PARTS, common, QUICK_SEEDS if setting.quick else SEEDS)


def _contestants(events: LabelledEvents, encoder: Encoder, common: str, setting: Setting) -> list[Contestant]:
    features, encode_s = featured(events, encoder)
    seeds = QUICK_SEEDS if setting.quick else SEEDS
    note = f"{len(events.batch):,} events, {len(seeds)} seeds; encoding one took {1000 * encode_s:.2f} ms"
    heads = [
        Contestant(
            name,
            partial(_attempt, features, spec, seeds, encode_s),
            partial(_warm, features, spec),
            f"on features that were made before; {note}",
        )
        for name, spec in HEADS.items()
    ]
    return [*heads, *_deep(events, DEEP, common, seeds)]


def _deep(events: LabelledEvents, specs: Mapping[str, str], common: str, seeds: Sequence[int]) -> list[Contestant]:
    return [
        Contestant(name, partial(_attempt, events, spec, seeds, 0.0), partial(_warm, events, spec))
        for name, spec in ((name, _with(spec, common)) for name, spec in specs.items())
    ]


def _with(spec: str, common: str) -> str:
    name, _, params = spec.partition(":")
    return f"{name}:{common}" + (f",{params}" if params else "")


def _warm(events: LabelledEvents, spec: str) -> None:
    warmed = build(spec, seed=0)
    warmed.learn_batch(events.batch.take(np.arange(0, len(events.batch), 8)))
    warmed.predict_batch(events.batch[:4])


def _attempt(events: LabelledEvents, spec: str, seeds: Sequence[int], encode_s: float, clock: Clock) -> Quality:
    """All seeds; the cost is the time of learning an event, features being made before."""
    quality, _ = over_seeds(events, spec, seeds, SHOWN, clock)
    quality["s_with_encoding"] = clock.cost + encode_s
    return quality


# Tables.


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """How encoders were trained, and each kind of payload: all contestants, and whether the published order shows."""
    found: dict[str, str] = {}
    for cell in result["cells"]:
        sides = [side for side in cell["contestants"] if side["status"] == "ok"]
        if cell["group"] == "encoder":
            found["encoder"] = _encoders(cell)
        elif sides:
            found[cell["group"]] = _streams(cell, {side["name"]: side for side in sides})
    return found


def _encoders(cell: Mapping[str, Any]) -> str:
    rows = [
        [
            side["name"],
            f"{side['best']:.0f}" if side["status"] == "ok" else side["reason"],
            f"{100 * side['quality']['probe_accuracy']:.1f}" if side["status"] == "ok" else "–",
        ]
        for side in cell["contestants"]
    ]
    notes = [f"* {side['note']}" for side in cell["contestants"] if "note" in side]
    header = ["objective", "seconds", "accuracy of a linear probe, per cent"]
    return "\n\n".join([table(header, rows, texts=("objective",)), *notes])


def _streams(cell: Mapping[str, Any], sides: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for side in cell["contestants"]:
        if side["status"] != "ok":
            rows.append([side["name"], f"**{side['reason']}**", *[""] * (len(SHOWN) + 1)])
            continue
        quality = side["quality"]
        values = [[value for key, value in quality.items() if key.startswith(f"{metric}@")] for metric in SHOWN]
        speeds = [amount(cost, "events/s") for cost in (side["best"], quality["s_with_encoding"])]
        rows.append([side["name"], *map(_percent, values), *speeds])
    header = ["learner", *(METRICS[key].title for key in SHOWN), "events/s", "with encoding"]
    notes = [f"* {side['name']}: {side['note']}" for side in cell["contestants"] if "note" in side]
    lines = [f"* {line}" for line in _verdicts(cell, sides)]
    page = f"Per cent, mean ± standard deviation over the seeds.\n\n{table(header, rows, texts=('learner',))}"
    return "\n\n".join([page, "\n".join([*lines, *notes])])


def _percent(values: Sequence[float]) -> str:
    deviation = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.1f}{deviation}"


def _verdicts(cell: Mapping[str, Any], sides: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Whether MVP is above what it is published to be above, and the head above MVP, and how much faster."""
    lines = []
    pairs = [(MVP, other, "a_auc") for other in BELOW] + [(OURS, MVP, "a_auc"), (OURS, MVP, "a_last")]
    for one, other, metric in pairs:
        if one in sides and other in sides:
            gap = 100 * (sides[one]["quality"][metric] - sides[other]["quality"][metric])
            words = "above" if gap > 0 else "**not above**"
            lines.append(f"{one} is {words} {other} in {METRICS[metric].title}: {gap:+.1f} points")
    if OURS in sides and MVP in sides:
        learning = sides[MVP]["best"] / sides[OURS]["best"]
        whole = sides[MVP]["quality"]["s_with_encoding"] / sides[OURS]["quality"]["s_with_encoding"]
        reached = "reached" if learning >= FASTER else f"**missed by {100 * (1 - learning / FASTER):.0f} %**"
        lines.append(
            f"{OURS} learns {learning:,.0f} x as many events a second as {MVP} (at least {FASTER} x: {reached}); "
            f"{whole:,.1f} x with the making of features"
        )
    return lines
