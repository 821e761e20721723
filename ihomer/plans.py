"""Plans: all that the commands can be told, each setting checked in one place."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ihomer import detectors, encoders, specs
from streams.topics.address import is_topic

OnError = Literal["fail", "skip"]
Scope = Literal["full", "after_last_restructure"]


def _split_data(value: Any) -> Any:
    return [piece.strip() for piece in value.split(",")] if isinstance(value, str) else value


def _split_learners(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [value]
    return specs.split(value) if isinstance(value, str) else value


def _learner_text(value: Any) -> Any:
    """A learner given as ``{name: ..., params: {...}}`` in the way that it is written on the command line."""
    if not isinstance(value, Mapping):
        return value
    name, params = value.get("name"), value.get("params") or {}
    if not isinstance(name, str) or not isinstance(params, Mapping) or not set(value) <= {"name", "params"}:
        raise ValueError(f"must be a learner as text, or its name and params, got {reprlib.repr(dict(value))}")
    return str(specs.LearnerSpec(name, {str(key): _written(item) for key, item in params.items()}))


def _written(value: Any) -> str:
    """A parameter's value as text; it may be a learner."""
    if value is None:
        return "none"
    value = _learner_text(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _buildable(value: str) -> str:
    specs.build(value)
    return value


def _detector(value: str) -> str:
    detectors.build(value, detectors.LOSS)
    return value


def _encoder(value: str) -> str:
    encoders.build(value)
    return value


def _watched(value: list[str]) -> list[str]:
    detectors.watched(value)
    return value


def _all_different(values: list[str]) -> list[str]:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"must differ from each other, got {value!r} twice")
    return values


def _factor(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"must be in (0, 1], got {value:g}")
    return value


def _percent(value: float) -> float:
    if not 0 <= value <= 100:
        raise ValueError(f"must be from 0 to 100, got {value:g}")
    return value


def _share(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"must be between 0 and 1, got {value:g}")
    return value


def _width(value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"must be at least 0, got {value:g}")
    return value


def _not_empty(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError(f"must not be empty, got {value!r}")
    return value


def _duration(value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"must be positive, got {value:g}")
    return value


def _folder(value: Any) -> Any:
    """A path, or the text of a URL."""
    _not_empty(value)
    return Path(value) if isinstance(value, str) and "://" not in value else value


Count = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, strict=True)]
Switch = Annotated[bool, Field(strict=True)]
Factor = Annotated[float, Field(strict=True), AfterValidator(_factor)]
Width = Annotated[float, Field(strict=True), AfterValidator(_width)]
Percent = Annotated[float, Field(strict=True), AfterValidator(_percent)]
Share = Annotated[float, Field(strict=True), AfterValidator(_share)]
Seconds = Annotated[float, Field(strict=True), AfterValidator(_duration)]
Text = Annotated[str, Field(strict=True), AfterValidator(_not_empty)]
File = Annotated[Path, BeforeValidator(_not_empty), PlainSerializer(str)]
Folder = Annotated[Path | str, BeforeValidator(_folder), PlainSerializer(str)]
LearnerText = Annotated[Text, BeforeValidator(_learner_text), AfterValidator(_buildable)]
DataList = Annotated[list[Text], Field(min_length=1), BeforeValidator(_split_data), AfterValidator(_all_different)]
NameList = Annotated[list[Text], BeforeValidator(_split_data), AfterValidator(_all_different)]
LearnerList = Annotated[
    list[LearnerText], Field(min_length=1), BeforeValidator(_split_learners), AfterValidator(_all_different)
]
EncoderText = Annotated[Text, BeforeValidator(_learner_text), AfterValidator(_encoder)]
DetectorText = Annotated[Text, BeforeValidator(_learner_text), AfterValidator(_detector)]
WatchList = Annotated[
    list[Annotated[Text, BeforeValidator(_learner_text)]], BeforeValidator(_split_learners), AfterValidator(_watched)
]


class Settings(BaseModel):
    """What a command can be told, each setting by a name of its own; relative paths start at the working directory."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    command: ClassVar[str]
    """What the command line calls it."""
    quiet: Switch = False
    """No progress on standard error."""
    as_json: Annotated[Switch, Field(alias="json")] = False
    """Standard output is one JSON object."""
    dry_run: Annotated[Switch, Field(exclude=True)] = False
    """Print the plan and do nothing else."""


class Extraction(Settings):
    """What commands can be told that make features of payloads."""

    encoder: EncoderText | None = None
    """What makes features of the payloads, as `encoders.build` reads it; None: they are left alone."""
    encoder_batch: Count = 32
    """Payloads that are encoded at once."""
    workers: Natural = 0
    """Processes that encode; 0: this one does."""
    ray: Text | None = None
    """Address of a Ray cluster whose actors encode, or ``auto``; None: processes of this machine do."""
    gpus: Width = 0.0
    """GPUs an actor, of which a fraction will do."""
    encoder_timeout: Width = 300.0
    """Seconds that a worker may take for a block before it is killed; 0: as long as it likes."""

    @property
    def actors_learn(self) -> bool:
        """Whether workers are actors that learn, and not such as encode."""
        return False

    @model_validator(mode="after")
    def _has_something_to_do(self) -> Self:
        for name in ("workers", "ray"):
            if self.encoder is None and not self.actors_learn and getattr(self, name):
                raise _refusal(name, f"must be left out without an encoder, got {getattr(self, name)!r}")
        if self.ray is not None and not self.workers:
            raise _refusal("workers", "must be at least 1 with ray, got 0")
        if self.ray is None and self.gpus:
            raise _refusal("gpus", f"must be left out without ray, got {self.gpus:g}")
        return self


class Plan(Extraction):
    """What every command that goes through a stream can be told.

    A destination is a file or any other sink.
    """

    on_error: OnError
    """What an event that cannot be read does: ends the run, or is counted and left out."""
    labels: Text | None = None
    """Which columns are labels, where the file does not say: ``first:6``, ``last:14`` or names."""
    payload: Text | None = None
    """Field among the features whose text is handed on as `Batch.payload` and is no feature."""
    max_events: Count | None = None
    """Stop after this many events."""
    shuffle: Natural | None = None
    """Seed of a random order of the events; None: as they come."""
    batch_size: Count = 256
    """Events read at a time; changes no result."""
    seed: Natural | None = None
    """Seed of every learner that draws random numbers and has none of its own."""
    dead_letters: Text | None = None
    """Where events that cannot be read go, with position and reason."""
    predictions: Text | None = None
    """Where predictions go; a file may call it ``sink``."""
    window: Count = 1000
    """Length of the sliding window of metrics, in events."""
    fading: Factor = 0.999
    """What an event's weight in the fading metrics is multiplied by with each event after it."""
    further_metrics: Switch = True
    """Whether ranking metrics, metrics of one class per event and calibration are taken as well."""
    detector: DetectorText = "adwin"
    """What watches the loss of every learner, as `detectors.build` reads it."""
    watch: WatchList = []
    """What of the stream itself is watched: labels, features, or detectors of these."""
    baselines: Switch = True
    """Whether no-change and majority run beside the learners."""
    delay: Natural = 0
    """After how many further events the labels of an event come."""
    checkpoint: Folder | None = None
    """Folder for checkpoints, or a URL of one."""
    resume: Switch = False
    """Whether to go on from the latest checkpoint."""
    trust_pickle: Switch = False
    """Whether a checkpoint to go on from may hold models of river: to read them can run any code its writer chose."""
    report: File | None = None
    """Where to write the HTML report."""
    result: File | None = None
    """Where to write the result file."""

    @model_validator(mode="after")
    def _agree_with_each_other(self) -> Self:
        if self.resume and self.checkpoint is None and getattr(self, "out", None) is None:
            folders = "checkpoint or out" if "out" in type(self).model_fields else "checkpoint"
            raise _refusal("resume", f"must come with a folder to go on from ({folders}), got none")
        taken: dict[str, str] = {}
        for name in _DESTINATIONS:
            where = getattr(self, name, None)
            if where is None:
                continue
            if where in taken:
                raise _refusal(name, f"must be another place than {taken[where]}, got {where!r} for both")
            taken[where] = name
        if self.as_json and "-" in taken:
            raise _refusal("json", f"must be left out where {taken['-']} goes to standard output, got true")
        return self

    @property
    def writes_to_stdout(self) -> bool:
        """Whether standard output carries messages."""
        return any(getattr(self, name, None) == "-" for name in _DESTINATIONS)


_DESTINATIONS = ("predictions", "dead_letters", "events_sink", "metrics_sink")


def _refusal(field: str, rule: str) -> PydanticCustomError:
    return PydanticCustomError("plan", "{rule}", {"field": field, "rule": rule})


class EvaluatePlan(Plan):
    """What `ihomer evaluate` does."""

    command = "evaluate"

    data: DataList
    """Sources: paths, known names or addresses."""
    learner: LearnerList = ["ihomer"]
    """Learners, each as `specs.parse` reads it."""
    out: File | None = None
    """Folder for result.json, curves.parquet and report.html."""
    on_error: OnError = "fail"
    scope: Scope = "full"
    """Whether the events after the first learner's last restructuring are scored once more, by themselves."""
    repeats: Count = 1
    """How often every learner goes through every set; see `each_repeat`."""
    significance: Switch = False
    """Whether to test that the learners differ over the data sets."""
    rope: Width = 0.01
    """Differences of no more than this count as none in the Bayesian comparison."""

    @model_validator(mode="after")
    def _has_enough_to_compare(self) -> Self:
        if self.repeats > 1 and "-" in self.data:
            raise _refusal("repeats", f"must be 1 for standard input, which is read once, got {self.repeats}")
        if self.significance and len(self.data) < 2:
            raise _refusal("significance", f"must come with at least 2 data sets, got {len(self.data)}")
        if self.significance and not self.baselines and len(self.learner) < 2:
            raise _refusal("significance", "must come with at least 2 learners, got 1 and no baselines")
        for other in ("delay", "significance"):
            if self.scope != "full" and getattr(self, other):
                raise _refusal("scope", f"must be full with {other}, got {self.scope}")
        return self

    def each_repeat(self) -> list[Self]:
        """The plan of each repeat: of repeat i, from 0 on, ``shuffle`` and ``seed`` are i more.

        A seed that is not given counts from 0, and so does the order; with a seed and no order to shuffle by, the
        events stay in the order of the file, and the learners' seeds are all that differs.
        """
        if self.repeats == 1:
            return [self]
        shuffle = 0 if self.shuffle is None and self.seed is None else self.shuffle
        return [
            self.model_copy(
                update={"shuffle": None if shuffle is None else shuffle + turn, "seed": (self.seed or 0) + turn}
            )
            for turn in range(self.repeats)
        ]


class RunPlan(Plan):
    """What `ihomer run` does."""

    command = "run"

    source: Text
    """Where events come from."""
    learner: LearnerText = "ihomer"
    """The learner, as `specs.parse` reads it."""
    checkpoint_every: Count = 10_000
    """Events between checkpoints."""
    checkpoint_seconds: Seconds | None = None
    """Seconds after which a checkpoint is due even so; None: 10 on a topic, never elsewhere."""
    model_per: Literal["partition", "topic"] = "partition"
    """Whether each partition of a topic has a model of its own, or one model learns all of them in order of time."""
    until_end: Switch = False
    """Whether a topic is read to where it ended at the start, and not for ever."""
    label_source: Text | None = None
    """Where labels come from that are joined to events by their id."""
    join_time: Seconds = 3600.0
    """Seconds of event time that an event waits for its labels, and labels for their event."""
    join_size: Count = 100_000
    """Events, and labels, that wait at most."""
    join_wait: Width = 0.0
    """Seconds of event time for which messages are held back, so that earlier ones may still come before them."""
    challenger: LearnerText | None = None
    """A learner scored beside the first whose answers are not written."""
    warm_start: File | None = None
    """A checkpoint whose learner a new run begins with."""
    no_learn: Switch = False
    """Predict and score only."""
    metrics_port: Annotated[int, Field(ge=0, le=65535, strict=True)] | None = None
    """Port on this machine for ``/metrics``, ``/healthz`` and ``/readyz``; 0: any free one."""
    log_format: Literal["text", "json"] = "text"
    """How the run tells that it gets on."""
    merge: Count | None = None
    """After how many events in checkpoints, over all partitions, their models are merged into one; None: never."""

    @property
    def actors_learn(self) -> bool:
        """Whether each partition of a topic is learned by one of the workers, actors of Ray."""
        return self.ray is not None and self.encoder is None and is_topic(self.source)

    @property
    def learners(self) -> list[str]:
        """The learner, and the challenger if there is one."""
        return [self.learner] if self.challenger is None else [self.learner, self.challenger]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if is_topic(self.source) and self.model_per == "partition":
            for name in ("max_events", "shuffle", "labels"):
                if getattr(self, name) is not None:
                    rule = "must be left out where each partition of a topic has a model"
                    raise _refusal(name, f"{rule}, got {getattr(self, name)!r}")
        if self.label_source is not None:
            for name in ("source", "label_source"):
                where = getattr(self, name)
                if not is_topic(where):
                    raise _refusal(name, f"must be a topic where labels are joined, got {where!r}")
            if self.delay:
                raise _refusal("delay", f"must be 0 where labels come from a topic of their own, got {self.delay}")
        if self.no_learn and self.challenger is not None:
            raise _refusal("challenger", f"must be left out where nothing is learned, got {self.challenger!r}")
        if self.actors_learn:
            self._suits_actors()
        if self.merge is not None:
            self._can_be_merged()
        return self

    def _suits_actors(self) -> None:
        if self.model_per != "partition":
            raise _refusal("model_per", f"must be partition where actors of Ray learn, got {self.model_per}")
        if self.checkpoint is None:
            raise _refusal("checkpoint", "must be a folder that all actors of Ray see, got none")
        if self.metrics_port:
            raise _refusal("metrics_port", f"must be 0 where each actor of Ray finds its own, got {self.metrics_port}")
        for name in _DESTINATIONS:
            if getattr(self, name) == "-":
                raise _refusal(name, "must be a file or a topic where actors of Ray write, got '-'")

    def _can_be_merged(self) -> None:
        if not is_topic(self.source) or self.model_per != "partition":
            raise _refusal("merge", f"must be left out without a model for each partition, got {self.merge}")
        if self.checkpoint is None:
            raise _refusal("merge", f"must come with a folder of checkpoints, got {self.merge} and none")
        if specs.RIVER in self.learner and not self.trust_pickle:
            raise _refusal("merge", f"must come with trust_pickle for a model of river, got {self.merge} and false")

    on_error: OnError = "skip"
    events_sink: Text | None = None
    """Where drifts and structural events go."""
    metrics_sink: Text | None = None
    """Where metrics go while the run goes on."""
    metrics_every: Count = 1000
    """Events between two messages to ``metrics_sink``."""


class SiBlurryPlan(Extraction):
    """What `ihomer siblurry` does."""

    command = "siblurry"

    data: DataList
    """Labelled data: archives, other sources, or folders with a folder of files a class."""
    learner: LearnerList = ["auto"]
    """Learners, each as `specs.parse` reads it."""
    seeds: Count = 5
    """How many streams."""
    seed: Natural = 1
    """The first of the seeds."""
    n: Percent = 50.0
    """Share of the classes that live in one session alone."""
    m: Percent = 10.0
    """Share of the samples of the others that leave the session of their class."""
    sessions: Count = 5
    """How many sessions there are."""
    donation: Literal["random", "head"] = "random"
    """Which samples leave."""
    varying: Switch = True
    """Whether sessions differ in size at random."""
    drop_remainder: Switch = False
    """Whether what does not divide by the number of sessions is left out, as in the published generator."""
    test_share: Share = 0.2
    """Share of every class that is set aside for testing where the data do not say."""
    labels: Text | None = None
    """Which columns are labels, where the data do not say."""
    payload: Text | None = None
    """Field among the features whose text is handed on and is no feature."""
    batch_size: Count = 256
    """Events learned at a time; changes no result but the time."""
    out: File | None = None
    """Folder for result.json, curves.parquet and report.html."""
    resume: Switch = False
    """Whether to leave out what ``out`` has already."""

    @model_validator(mode="after")
    def _has_where_to_go_on(self) -> Self:
        if self.resume and self.out is None:
            raise _refusal("resume", "must come with a folder to go on from (out), got none")
        return self


class EncoderPlan(Settings):
    """What `ihomer encoder train` does."""

    command = "encoder train"

    data: Text
    """Labelled images: a folder with a folder of files a class, a tar archive of one, or an archive of arrays."""
    out: File
    """Folder of the encoder."""
    objective: Literal["responses", "views", "supervised"] = "responses"
    """What is learned: see `streams.extraction.training.record.OBJECTIVES`."""
    classes: NameList = []
    """Classes to train on; none: all but those held out."""
    hold_out: NameList = []
    """Classes to leave out."""
    size: Literal["tiny", "small"] = "small"
    """How large the network is."""
    patch: Count = 8
    """Height and width of a patch in pixels."""
    image_size: Count = 32
    """Height and width that images are brought to."""
    epochs: Count | None = None
    """How often each image comes; None: as often as makes 100,000 in all."""
    seed: Natural = 0
    """Of all that is drawn."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What it is trained on."""
    max_minutes: Seconds | None = None
    """Minutes after which the training stops and the encoder is kept as it is; None: none."""
    resume: Switch = False
    """Whether to go on where an earlier training stopped."""

    @model_validator(mode="after")
    def _has_an_image_of_patches(self) -> Self:
        if self.patch < 2 or self.image_size < 8 or self.image_size % self.patch:
            raise _refusal(
                "patch",
                f"must be at least 2 and divide the size of an image, which is at least 8, got {self.patch} and "
                f"{self.image_size}",
            )
        if self.classes and self.hold_out:
            raise _refusal("classes", "must be left out where classes are held out, got both")
        return self


class ExtractPlan(Extraction):
    """What `ihomer extract` does."""

    command = "extract"

    source: Text
    """Where events come from."""
    encoder: EncoderText
    """What makes features of the payloads."""
    out: File
    """Where the features go, in a format that holds events."""
    labels: Text | None = None
    """Which columns are labels, where the file does not say."""
    payload: Text | None = None
    """Field among the features whose text is encoded."""
    on_error: OnError = "fail"
    """What an event does that cannot be read or encoded: ends the run, or is counted and left out."""
    dead_letters: Text | None = None
    """Where such events go, with position and reason."""
    max_events: Count | None = None
    """Stop after this many events."""
    batch_size: Count = 256
    """Events read at a time."""
    resume: Switch = False
    """Whether to go on where an earlier run stopped."""


AnyPlan = TypeVar("AnyPlan", bound=Plan)
