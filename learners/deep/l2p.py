"""Learning to prompt: the prompts of the nearest keys go in with the tokens and are what the head sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from learners.deep import losses
from learners.deep.backbone import Item
from learners.deep.learner import BLOCK, Queries
from learners.deep.prompting import KEYS, OWN, KeyedLearner


class L2PClassifier(KeyedLearner):
    """L2P: prompts of the nearest keys of a pool stand beside the tokens through the whole transformer.

    Parameters
    ----------
    model
        The transformer, see `learners.deep.mvp.MVPClassifier`.
    keys
        Prompts of the pool, at least 1.
    top
        Of them, those that an event gets, from 1 to ``keys``.
    length
        Tokens of a prompt, at least 1.
    pull
        What the distance of keys to the queries that took them counts in the loss, at least 0.
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
    The ``top`` keys with the greatest cosine to the query are taken; their prompts go into the first block and stay;
    their mean at the end is the feature, which a linear head answers over the classes that came so far. A step lowers
    the cross-entropy plus ``pull`` times the sum of 1 - cos(q, k) over the keys that were taken.

    References
    ----------
    .. [1] Wang et al., "Learning to prompt for continual learning", CVPR 2022, arXiv 2112.08654, equations 1 to 5.
    """

    def __init__(
        self,
        model: str,
        *,
        keys: int = 10,
        top: int = 5,
        length: int = 5,
        pull: float = 0.5,
        rate: float = 0.005,
        steps: int = 3,
        block: int = BLOCK,
        memory: int = 0,
        replay: int = 32,
        balanced: bool = False,
        limit: int | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        half: bool = False,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        for name, value in (("keys", keys), ("length", length)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 1 <= top <= keys:
            raise ValueError(f"top must be from 1 to keys, which is {keys}, got {top}")
        if not pull >= 0:
            raise ValueError(f"pull must be at least 0, got {pull}")
        self.keys, self.top, self.length, self.pull = keys, top, length, pull
        super().__init__(
            model, rate=rate, steps=steps, block=block, memory=memory, replay=replay, balanced=balanced,
            limit=limit, device=device, half=half, threads=threads, seed=seed,
        )  # fmt: skip

    def _start(self) -> None:
        super()._start()
        self._learn(OWN, self._spread(2, (self.keys, self.length, self._pretrained.width)))

    def _features(self, items: Sequence[Item], queries: Queries) -> tuple[Any, None]:
        return self._prompted(items, self._nearest(queries, n=self.top), gradient=False), None

    def _loss(self, items: Sequence[Item], queries: Queries, rows: Any, weight: Any) -> Any:
        which = self._nearest(queries, n=self.top)
        logits = self._logits(self._prompted(items, which, gradient=True))
        keys = self._learned[KEYS].value[self._tensor(which)]
        far = 1 - (losses.unit(self._tensor(queries))[:, None] * losses.unit(keys)).sum(2)
        return losses.mean(losses.cross_entropies(logits, rows) + self.pull * far.sum(1), weight)

    def _prompted(self, items: Sequence[Item], which: Any, *, gradient: bool) -> Any:
        prompts = self._learned[OWN].value[self._tensor(which)].flatten(1, 2)
        return self._network().features(items, {0: prompts}, stays=True, gradient=gradient)
