"""What deep learners share: events wait in a block, and when it is full what is learned takes a few steps."""

from __future__ import annotations

import abc
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import Learner, State
from learners.deep.adam import Learned
from learners.deep.backbone import Backbone, Item, device_of, open_backbone
from learners.deep.memory import Entry, Memory, pack_entries, unpack_entries
from learners.deep.payloads import Reader, digest
from learners.deep.pretrained import Pretrained, require_packages
from learners.heads.head import dot, to_shares
from streams.batch import Batch, Prediction, Rows

Queries = NDArray[np.float32]
"""Features of events under no prompt, (n, width), or no rows where nobody asks for them."""

BLOCK = 64
"""Events of a block, the size of a batch in all published runs."""

TOGETHER = 256
"""Events that are answered at a time, at most; changes no answer."""

QUERIES = 4096
"""Payloads whose features are remembered, so that one that is asked about again costs less."""

ENTERED, STEPS = range(2)
"""Places in the counters: entries so far, and steps."""

HEAD, OFFSETS = "head", "offsets"
"""What every deep learner learns: a vector and a number for each class."""


class DeepLearner(Learner, abc.ABC):
    """A classifier of texts or images by a pretrained transformer, which answers one class an event.

    A subclass writes `_start`, `_features` and `_loss`.

    Parameters
    ----------
    model, rate, steps, block, memory, replay, balanced, limit, device, half, threads, seed
        See `learners.deep.mvp.MVPClassifier`.

    Raises
    ------
    ImportError
        A package of the extra ``deep`` is not installed.
    ValueError
        A parameter is outside its range, or there is no such model.

    Notes
    -----
    An event with several labels is an entry of each of its classes, in the order of birth. The block is part of the
    state, and it is full when ``block`` entries were made since the last steps, however batches were cut. All that is
    drawn by lot is drawn from the seed and a count.
    """

    reads_payload = True
    """Events are learned and answered by their payloads: where features are extracted, these learners keep theirs."""

    def __init__(
        self,
        model: str,
        *,
        rate: float,
        steps: int,
        block: int,
        memory: int,
        replay: int,
        balanced: bool,
        limit: int | None,
        device: str,
        half: bool,
        threads: int,
        seed: int,
    ) -> None:
        require_packages(type(self).__name__)
        if not 0 < rate < np.inf:
            raise ValueError(f"rate must be above 0 and finite, got {rate}")
        least = {"steps": 1, "block": 1, "memory": 0, "replay": 0, "threads": 1, "seed": 0}
        given = {"steps": steps, "block": block, "memory": memory, "replay": replay, "threads": threads, "seed": seed}
        for name, value in given.items():
            if value < least[name]:
                raise ValueError(f"{name} must be at least {least[name]}, got {value}")
        super().__init__()
        self.model, self.rate, self.steps, self.block = model, rate, steps, block
        self.memory, self.replay, self.balanced = memory, replay, balanced
        self.limit, self.device, self.half, self.threads, self.seed = limit, device, half, threads, seed
        self._pretrained = Pretrained(model)
        if limit is not None and not 1 <= limit <= self._pretrained.most_tokens:
            raise ValueError(f"limit must be from 1 to {self._pretrained.most_tokens}, got {limit}")
        self._device = device_of(device)
        self._backbone: Backbone | None = None
        self._reader: Reader | None = None
        self._queries: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._begin()

    def _begin(self) -> None:
        """Begin anew."""
        self._counters = np.zeros(2, np.int64)
        self._row_of: dict[int, int] = {}
        self._entries: list[Entry] = []
        self._kept = Memory(self.memory, balanced=self.balanced, seed=self.seed)
        width = self._pretrained.width
        self._learned: dict[str, Learned] = {}
        self._learn(HEAD, np.zeros((0, width), np.float32), grows=True)
        self._learn(OFFSETS, np.zeros(0, np.float32), grows=True)
        self._start()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_backbone": None, "_reader": None, "_queries": OrderedDict()}

    # What a subclass writes.

    @abc.abstractmethod
    def _start(self) -> None:
        """Say what is learned beside the head, by `_learn`."""

    @abc.abstractmethod
    def _features(self, items: Sequence[Item], queries: Queries) -> tuple[Any, NDArray[np.int64] | None]:
        """What the head is given of events, a tensor (n, width), and which row of `_masks` each of them has."""

    @abc.abstractmethod
    def _loss(self, items: Sequence[Item], queries: Queries, rows: Any, weight: Any) -> Any:
        """What a step lowers, for entries of a block and of the memory."""

    def _masks(self) -> NDArray[np.float64]:
        """Rows of a number a class, 2 sigmoid of which is the factor of the class's logit."""
        return np.zeros((1, len(self._row_of)))

    def _asks(self) -> bool:
        """Whether features under no prompt are needed, which are found once for an event."""
        return True

    def _query(self, items: Sequence[Item]) -> Any:
        """Features of events under no prompt."""
        return self._network().features(items)

    def _new_class(self, row: int) -> dict[str, NDArray[np.float32]]:
        """What is learned of a class, as it starts, by name."""
        bound = self._pretrained.width**-0.5
        random = np.random.default_rng([self.seed, 1, row])
        return {
            HEAD: random.uniform(-bound, bound, (1, self._pretrained.width)).astype(np.float32),
            OFFSETS: random.uniform(-bound, bound, 1).astype(np.float32),
        }

    # What is the same for all.

    def learn_batch(self, batch: Batch) -> None:
        """Learn the events of ``batch`` in order; nothing is answered, which saves a pass through the network."""
        self._go(self._admit(batch), learn=True, answer=False)

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        return self._go(batch, learn, answer=True)

    def _go(self, batch: Batch, learn: bool, answer: bool) -> Prediction:
        n, start = len(batch), 0
        if n and batch.payload is None:
            raise ValueError(f"payload must be a text or an image of each event for {type(self).__name__}, got none")
        proba = np.zeros((n if answer else 0, self.schema_.n_labels))
        chosen = np.full(n, -1, np.int32)
        with self._reckoning():
            while start < n:
                part = batch[start : self._stop(batch, start, learn)]
                stop = start + len(part)
                assert part.payload is not None, "it was looked at before"
                # Read before anything is changed, so that a payload that cannot be read changes nothing.
                items = self._read(part.payload)
                born = self._bear_all(part, learn)
                if answer:
                    self._answer(part.payload, items, born, proba[start:stop], chosen[start:stop])
                if learn:
                    self._enter(part)
                start = stop
        answered = chosen >= 0
        return Prediction(Rows(np.concatenate([[0], np.cumsum(answered)]), chosen[answered]), proba)

    def _stop(self, batch: Batch, start: int, learn: bool) -> int:
        """After which event a block is full, or as many events have been taken as are answered at a time."""
        n_entries = batch.y.indptr[start + 1 : start + TOGETHER + 1] - batch.y.indptr[start]
        room = self.block - len(self._entries)
        return start + min(len(n_entries), int(np.searchsorted(n_entries, room)) + 1 if learn else TOGETHER)

    def _bear_all(self, batch: Batch, learn: bool) -> NDArray[np.int64]:
        """How many classes there were before each event, each of which then brings its own if they are learned."""
        born = np.empty(len(batch), np.int64)
        for event in range(len(batch)):
            born[event] = len(self._row_of)
            for label in sorted(batch.y.row(event).tolist()) if learn else ():
                if label not in self._row_of:
                    self._bear(label)
        return born

    def _bear(self, label: int) -> None:
        row = self._row_of[label] = len(self._row_of)
        for name, values in self._new_class(row).items():
            self._learned[name].grow(values)

    def _answer(
        self,
        payloads: list[Any],
        items: list[Item],
        born: NDArray[np.int64],
        proba: NDArray[np.float64],
        chosen: NDArray[np.int32],
    ) -> None:
        """Answer events, each over the classes that there were before it."""
        asked = np.flatnonzero(born)
        if not len(asked):
            return
        given = [items[event] for event in asked]
        features, which = self._features(given, self._rows_of([payloads[event] for event in asked], given))
        vectors, offsets = (self._learned[name].value.cpu().numpy().astype(np.float64) for name in (HEAD, OFFSETS))
        which = np.zeros(len(asked), np.int64) if which is None else which
        labels = np.fromiter(self._row_of, np.int32, len(self._row_of))
        answers, best = np.zeros((len(asked), proba.shape[1])), np.zeros(len(asked), np.int32)
        x = features.cpu().numpy().astype(np.float64)
        _answer_masked(x, vectors, offsets, self._masks(), which, born[asked], labels, answers, best)
        proba[asked], chosen[asked] = answers, best

    def _enter(self, batch: Batch) -> None:
        assert batch.payload is not None, "it was looked at before"
        for event, payload in enumerate(batch.payload):
            weight = 1.0 if batch.weight is None else float(batch.weight[event])
            for row in sorted(self._row_of[label] for label in batch.y.row(event).tolist()):
                self._entries.append(Entry(payload, row, weight))
                if len(self._entries) == self.block:
                    self._learn_block()

    def _learn_block(self) -> None:
        """Take the steps of a full block, then offer its entries to the memory."""
        items = self._remembered(self._entries)
        for _ in range(self.steps):
            repeated = self._kept.drawn(self.replay, int(self._counters[STEPS]))
            self._step(self._entries + repeated, items + self._remembered(repeated))
        for entry in self._entries:
            self._kept.offer(entry, int(self._counters[ENTERED]))
            self._counters[ENTERED] += 1
        self._entries = []

    def _step(self, entries: list[Entry], items: list[Item]) -> None:
        import torch

        width = self._pretrained.width
        queries = np.array([entry.query for entry in entries if self._asks()], np.float32).reshape(-1, width)
        rows = self._tensor(np.array([entry.row for entry in entries], np.int64))
        weight = self._tensor(np.array([entry.weight for entry in entries], np.float32))
        learned = list(self._everything().values())
        for part in learned:
            part.value.requires_grad_(True)
        loss = self._loss(items, queries, rows, weight)
        gradients = torch.autograd.grad(loss, [part.value for part in learned], allow_unused=True)
        for part, gradient in zip(learned, gradients, strict=True):
            part.value.requires_grad_(False)
            if gradient is not None:
                part.step(gradient)
        self._counters[STEPS] += 1

    def _logits(self, features: Any) -> Any:
        """Logits of features, (n, classes), with their gradient."""
        return features @ self._learned[HEAD].value.T + self._learned[OFFSETS].value

    def _everything(self) -> dict[str, Learned]:
        """All that is learned, by name."""
        return self._learned

    # Payloads and their features.

    def _read(self, payloads: Sequence[Any]) -> list[Item]:
        if self._reader is None:
            self._reader = Reader(self._pretrained, self.limit)
        return self._reader(payloads)

    def _remembered(self, entries: Sequence[Entry]) -> list[Item]:
        """What the network is given of entries, whose features are found where they are not known."""
        items = self._read([entry.payload for entry in entries])
        lacking = [number for number, entry in enumerate(entries) if entry.query is None and self._asks()]
        found = self._rows_of([entries[number].payload for number in lacking], [items[number] for number in lacking])
        for number, row in zip(lacking, found, strict=True):
            entries[number].query = row
        return items

    def _rows_of(self, payloads: Sequence[Any], items: Sequence[Item]) -> Queries:
        """Features of payloads under no prompt, found anew where they are not remembered; no rows if none are asked."""
        if not self._asks():
            return np.zeros((0, self._pretrained.width), np.float32)
        names = [digest(payload) for payload in payloads]
        lacking = list({name: number for number, name in enumerate(names) if name not in self._queries}.values())
        if lacking:
            found = self._query([items[number] for number in lacking]).cpu().numpy()
            self._queries.update((names[number], row) for number, row in zip(lacking, found, strict=True))
        rows = [self._queries[name] for name in names]
        for name in names:
            self._queries.move_to_end(name)
        while len(self._queries) > QUERIES:
            self._queries.popitem(last=False)
        return np.array(rows, np.float32).reshape(-1, self._pretrained.width)

    def _network(self) -> Backbone:
        if self._backbone is None:
            self._backbone = open_backbone(self._pretrained, self._device, half=self.half)
        return self._backbone

    @contextmanager
    def _reckoning(self) -> Iterator[None]:
        """PyTorch uses as many threads as told; their number changes features by rounding."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _tensor(self, array: NDArray[Any]) -> Any:
        import torch

        return torch.from_numpy(array).to(self._device)

    def _learn(self, name: str, value: Any, *, grows: bool = False, rate: float | None = None) -> None:
        """Have a tensor learned."""
        self._learned[name] = Learned(value, rate or self.rate, self._device, grows=grows)

    # State.

    def _get_state(self) -> State:
        found: State = {
            "backbone": np.frombuffer(self._pretrained.fingerprint.encode(), np.uint8),
            "counters": self._counters.copy(),
            "class_labels": np.fromiter(self._row_of, np.int32, len(self._row_of)),
            **pack_entries("block", self._entries),
            **self._kept.get_state(len(self._row_of)),
        }
        for name, part in self._everything().items():
            found |= part.get_state(name)
        return found

    def _set_state(self, state: State) -> None:
        theirs, mine = state["backbone"].tobytes().decode(), self._pretrained.fingerprint
        if theirs != mine:
            raise ValueError(f"model must be the one that the state was learned on, of hash {theirs}, got {mine}")
        entries = unpack_entries("block", state)
        if len(entries) >= self.block:
            raise ValueError(f"state 'block_rows' must have fewer than {self.block} rows, got {len(entries)}")
        self._begin()
        self._counters = state["counters"].copy()
        self._row_of = {label: row for row, label in enumerate(state["class_labels"].tolist())}
        self._entries = entries
        self._kept.set_state(state)
        for name, part in self._everything().items():
            part.set_state(name, state)


@njit(cache=True, nogil=True)
def _answer_masked(
    x: NDArray[np.float64],
    vectors: NDArray[np.float64],
    offsets: NDArray[np.float64],
    masks: NDArray[np.float64],
    which: NDArray[np.int64],
    born: NDArray[np.int64],
    labels: NDArray[np.int32],
    proba: NDArray[np.float64],
    chosen: NDArray[np.int32],
) -> None:
    """Answer every event by itself, over the classes that there were before it."""
    for i in range(len(x)):
        scores = np.empty(born[i])
        for k in range(born[i]):
            factor = 2 / (1 + np.exp(-masks[which[i], k]))
            scores[k] = (dot(x[i], vectors[k]) + offsets[k]) * factor
        chosen[i] = to_shares(scores, labels[: born[i]], proba[i])
