"""Baselines: a linear classifier on the features of a transformer, learned by gradient, with and without a memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from learners.deep import losses
from learners.deep.adam import Learned
from learners.deep.backbone import Backbone, Item
from learners.deep.learner import BLOCK, DeepLearner, Queries

_NETWORK = "network."
"""What the names of the transformer's own weights begin with in a state."""


class FineTuneClassifier(DeepLearner):
    """Fine-tunes a linear classifier on a pretrained transformer, or the transformer with it, and forgets freely.

    Parameters
    ----------
    model
        The transformer, see `learners.deep.mvp.MVPClassifier`.
    train
        ``head``: the classifier alone; ``all``: the transformer, too.
    network_rate
        Of Adam for the transformer's weights, above 0.
    rate, steps, block, memory, replay, balanced, limit, device, half, threads, seed
        See `learners.deep.mvp.MVPClassifier`.

    Raises
    ------
    ImportError
        A package of the extra ``deep`` is not installed.
    ValueError
        A parameter is outside its range, or there is no such model.

    Notes
    -----
    What a step lowers is the cross-entropy of a block under a linear classifier of the pooled features, over all
    classes met so far. With ``train="head"`` an event is passed through the network once; its features then serve all
    steps. With ``train="all"`` every step passes the block forwards and backwards, and the state holds all weights of
    the network three times.
    """

    def __init__(
        self,
        model: str,
        *,
        train: Literal["head", "all"] = "head",
        network_rate: float = 1e-4,
        rate: float = 0.005,
        steps: int = 3,
        block: int = BLOCK,
        memory: int = 0,
        replay: int = 32,
        balanced: bool = True,
        limit: int | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        half: bool = False,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        if train not in ("head", "all"):
            raise ValueError(f"train must be 'head' or 'all', got {train!r}")
        if not network_rate > 0:
            raise ValueError(f"network_rate must be above 0, got {network_rate}")
        self.train, self.network_rate = train, network_rate
        super().__init__(
            model, rate=rate, steps=steps, block=block, memory=memory, replay=replay, balanced=balanced,
            limit=limit, device=device, half=half, threads=threads, seed=seed,
        )  # fmt: skip

    def _start(self) -> None:
        if self.train == "all":
            self._backbone = None

    def _asks(self) -> bool:
        return self.train == "head"

    def _network(self) -> Backbone:
        if self.train == "head":
            return super()._network()
        if self._backbone is None:
            self._backbone = Backbone(self._pretrained, self._device, half=self.half)
            for name, weight in self._backbone.model.named_parameters():
                held = self._learned.get(_NETWORK + name)
                if held is None:
                    self._learn(_NETWORK + name, weight, rate=self.network_rate)
                else:
                    weight.data = held.value
                    held.value = weight
        return self._backbone

    def _everything(self) -> dict[str, Learned]:
        if self.train == "all":
            self._network()
        return self._learned

    def _features(self, items: Sequence[Item], queries: Queries) -> tuple[Any, None]:
        return self._seen(items, queries, gradient=False), None

    def _loss(self, items: Sequence[Item], queries: Queries, rows: Any, weight: Any) -> Any:
        logits = self._logits(self._seen(items, queries, gradient=True))
        return losses.mean(losses.cross_entropies(logits, rows), weight)

    def _seen(self, items: Sequence[Item], queries: Queries, *, gradient: bool) -> Any:
        return self._tensor(queries) if self._asks() else self._network().features(items, gradient=gradient)


class ReplayClassifier(FineTuneClassifier):
    """Fine-tunes a classifier on a pretrained transformer and repeats events of a memory balanced between classes.

    Parameters
    ----------
    model, train, network_rate, rate, steps, block, memory, replay, balanced, limit, device, half, threads, seed
        As of `FineTuneClassifier`; there is a memory unless told otherwise.

    Notes
    -----
    See `FineTuneClassifier`, to the block of which, at every step, ``replay`` events of the memory are added.
    """

    def __init__(
        self,
        model: str,
        *,
        train: Literal["head", "all"] = "head",
        network_rate: float = 1e-4,
        rate: float = 0.005,
        steps: int = 3,
        block: int = BLOCK,
        memory: int = 500,
        replay: int = 32,
        balanced: bool = True,
        limit: int | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        half: bool = False,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(
            model, train=train, network_rate=network_rate, rate=rate, steps=steps, block=block, memory=memory,
            replay=replay, balanced=balanced, limit=limit, device=device, half=half, threads=threads, seed=seed,
        )  # fmt: skip
