"""DualPrompt: shared prompts for what all classes have in common, and prompts of the nearest key for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from learners.deep import losses
from learners.deep.backbone import Item
from learners.deep.learner import BLOCK, Queries
from learners.deep.prompting import KEYS, PromptedLearner


class DualPromptClassifier(PromptedLearner):
    """DualPrompt: shared prefixes in the first blocks, and in later ones those of the nearest key.

    Parameters
    ----------
    model
        The transformer, see `learners.deep.mvp.MVPClassifier`.
    insertion, keys, g_length, e_length, g_blocks, e_blocks
        See `learners.deep.mvp.MVPClassifier`.
    pull
        What the distance of a key to the queries that took it counts in the loss, at least 0.
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
    As published there is a key for each task, and learning is told the task. A stream tells none: the key with the
    greatest cosine to the query is taken in learning, too. A step lowers the cross-entropy of a linear head over the
    classes that came so far, plus ``pull`` times 1 - cos(q, k).

    References
    ----------
    .. [1] Wang et al., "DualPrompt: complementary prompting for rehearsal-free continual learning", ECCV 2022, arXiv
       2204.04799, equations 3 to 7.
    """

    def __init__(
        self,
        model: str,
        *,
        insertion: Literal["prompt", "prefix"] = "prefix",
        keys: int = 10,
        g_length: int = 5,
        e_length: int = 20,
        g_blocks: Sequence[int] = (0, 1),
        e_blocks: Sequence[int] = (2, 3, 4),
        pull: float = 1.0,
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
        if not pull >= 0:
            raise ValueError(f"pull must be at least 0, got {pull}")
        self.insertion, self.keys, self.pull = insertion, keys, pull
        self.g_length, self.e_length, self.g_blocks, self.e_blocks = g_length, e_length, g_blocks, e_blocks
        super().__init__(
            model, rate=rate, steps=steps, block=block, memory=memory, replay=replay, balanced=balanced,
            limit=limit, device=device, half=half, threads=threads, seed=seed,
        )  # fmt: skip

    def _features(self, items: Sequence[Item], queries: Queries) -> tuple[Any, None]:
        return self._network().features(items, self._prompts(self._nearest(queries)[:, 0])), None

    def _loss(self, items: Sequence[Item], queries: Queries, rows: Any, weight: Any) -> Any:
        which = self._nearest(queries)[:, 0]
        logits = self._logits(self._network().features(items, self._prompts(which), gradient=True))
        keys = self._learned[KEYS].value[self._tensor(which)]
        far = 1 - (losses.unit(self._tensor(queries)) * losses.unit(keys)).sum(1)
        return losses.mean(losses.cross_entropies(logits, rows) + self.pull * far, weight)
