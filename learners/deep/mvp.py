"""MVP: masks and prompts chosen by keys, on a transformer that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from learners.deep import losses
from learners.deep.backbone import Item
from learners.deep.learner import BLOCK, HEAD, OFFSETS, Queries
from learners.deep.prompting import KEYS, PromptedLearner

MASKS = "masks"
"""What is learned of a class beside its vector: a number for each key."""

_UNTAUGHT_MASK = -1.0


class MVPClassifier(PromptedLearner):
    """MVP: keys choose prompts and masks of logits, and a loss weighs events by how their gradients agree.

    Parameters
    ----------
    model
        A pretrained transformer: a folder as ``save_pretrained`` of transformers writes it, or an installed package
        that holds one. One that takes images (ViT and its kind) or texts (BERT and its kind, with ``tokenizer.json``).
        Nothing is ever fetched.
    variant
        ``corrected``, or ``paper``: as the published code runs, see below.
    insertion
        ``prompt``: prompts are tokens that a block sees beside its own; ``prefix``: they go before the keys and the
        values of its attention.
    keys
        Prompts of the pool, each with a key and a mask, at least 1.
    g_length, e_length
        Tokens of a shared prompt, at least 0, and of one of the pool, at least 1.
    g_blocks, e_blocks
        Blocks that have shared prompts, and those that have prompts of the pool. Those that the model lacks are left
        out; the last block stands in for ``e_blocks`` if none is left.
    margin
        Of the scaling of features, above 0.
    alpha, gamma
        Share and exponent of the focal loss: from 0 to 1, and at least 0.
    rate
        Of Adam, above 0.
    steps
        Gradient steps a block, at least 1.
    block
        Events that are learned together, at least 1.
    memory
        Events that are kept to be repeated, at least 0.
    replay
        Of them, those that join a step, at least 0.
    balanced
        Whether the memory has about as many events of each class; else it is a uniform sample of the stream.
    limit
        Tokens of a text that count; None: as many as the model says, or 128.
    device
        ``cpu``; ``cuda``: a GPU, or the processor, with a warning, where there is none; ``auto``: the same, without.
    half
        Whether the transformer reckons in half precision.
    threads
        Of PyTorch while it learns or answers, at least 1; their number changes answers by rounding.
    seed
        Of what is drawn by lot, at least 0.

    Raises
    ------
    ImportError
        A package of the extra ``deep`` is not installed.
    ValueError
        A parameter is outside its range, or there is no such model.

    Notes
    -----
    Events bring a text or an image as their payload; their features ``x`` are not looked at. An event with several
    labels is an entry of each of its classes. The query q is the feature under no prompt: the first token's vector of
    an image, the mean over the tokens of a text, or what the model's pooling says. Of the keys the one with the least
    (1 - cos(q, k_e)) (n_e + 1) is taken, where n_e says how often it has been taken in steps; it gives the prompts,
    under which the feature f is found, and the factors mu = 2 sigmoid(m_e) of the logits z = mu (W f + b). They are
    answered by softmax over the classes that came so far.

    When ``block`` entries have come, there are ``steps`` steps of Adam, each with as many of the memory as ``replay``
    says, drawn anew; the block is offered to the memory after its steps. A block that is not full is part of the state
    and teaches nothing yet. A step lowers

    * the cross-entropy of mu (W f / r + b), where r = 1 - cos(W_y, f) + margin (adaptive feature scaling), times
      1 - alpha + alpha s^gamma, where s is one less the cosine between the gradient of the event by W_y and that of
      all of them, in closed form and of z (gradient-similarity focal loss); r and s are constants in it;
    * for the keys, -log(A / (Q + A)) with Q = exp((1 - cos(q, k)) / (n + 1)) of the key that was taken and A the sum
      over the others k' of exp((1 - cos(k, k')) / (n + 1)), these being constants.

    The published code differs from the paper, and ``variant="paper"`` follows it: the query is taken one block before
    the end, without the norm there; the focal weight is the mean over the events; in the contrastive loss A and Q are
    means, and each distance is divided by the count of every event. In both variants images are not augmented, and the
    memory works before all classes have come.

    Bytes: 12 (E (e_length B_e + 1) d + g_length B_g d + K (d + E + 1)) for E keys, K classes, and B_e and B_g blocks
    with prompts, of which prefixes take twice as many, and the payloads of block and memory. The transformer is no part
    of the state, but its hash is, and a state goes on with the same transformer alone. Beside it, features of 4,096
    payloads are remembered, and a step holds what its gradient needs of every block from the first with prompts on.

    On a processor the same bits come however batches are cut; on a GPU they may differ by rounding.

    References
    ----------
    .. [1] Moon, Park, Kim, Park, "Online class incremental learning on stochastic blurry task boundary via mask and
       visual prompt tuning", ICCV 2023, arXiv 2308.09303.
    """

    def __init__(
        self,
        model: str,
        *,
        variant: Literal["corrected", "paper"] = "corrected",
        insertion: Literal["prompt", "prefix"] = "prompt",
        keys: int = 10,
        g_length: int = 5,
        e_length: int = 20,
        g_blocks: Sequence[int] = (0, 1),
        e_blocks: Sequence[int] = (2, 3, 4),
        margin: float = 0.5,
        alpha: float = 0.5,
        gamma: float = 2.0,
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
        if variant not in ("corrected", "paper"):
            raise ValueError(f"variant must be 'corrected' or 'paper', got {variant!r}")
        if not margin > 0:
            raise ValueError(f"margin must be above 0, got {margin}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
        if not gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {gamma}")
        self.variant, self.margin, self.alpha, self.gamma = variant, margin, alpha, gamma
        self.insertion, self.keys = insertion, keys
        self.g_length, self.e_length, self.g_blocks, self.e_blocks = g_length, e_length, g_blocks, e_blocks
        super().__init__(
            model, rate=rate, steps=steps, block=block, memory=memory, replay=replay, balanced=balanced,
            limit=limit, device=device, half=half, threads=threads, seed=seed,
        )  # fmt: skip

    def _start(self) -> None:
        super()._start()
        self._learn(MASKS, np.zeros((0, self.keys), np.float32), grows=True)

    def _new_class(self, row: int) -> dict[str, NDArray[np.float32]]:
        return {**super()._new_class(row), MASKS: np.full((1, self.keys), _UNTAUGHT_MASK, np.float32)}

    def _masks(self) -> NDArray[np.float64]:
        masks: NDArray[np.float32] = self._learned[MASKS].value.cpu().numpy()
        return np.ascontiguousarray(masks.T, np.float64)

    def _query(self, items: Sequence[Item]) -> Any:
        return self._network().features(items, before_last=self.variant == "paper")

    def _features(self, items: Sequence[Item], queries: Queries) -> tuple[Any, NDArray[np.int64]]:
        which = self._nearest(queries, balanced=True)[:, 0]
        return self._network().features(items, self._prompts(which)), which

    def _loss(self, items: Sequence[Item], queries: Queries, rows: Any, weight: Any) -> Any:
        which = self._nearest(queries, balanced=True)[:, 0]
        features = self._network().features(items, self._prompts(which), gradient=True)
        taken, counts = self._tensor(which), self._tensor(self._taken)
        head, offsets = self._learned[HEAD].value, self._learned[OFFSETS].value
        masks = self._learned[MASKS].value.T[taken]
        constant, directions = features.detach(), head.detach()
        logits, factors = losses.masked_logits(constant, directions, offsets.detach(), masks.detach())
        scores = losses.ignore_scores(constant, logits, factors, rows, weight)
        scale = losses.compensation(constant, directions, rows, self.margin)
        scaled, _ = losses.masked_logits(features / scale[:, None], head, offsets, masks)
        is_corrected = self.variant == "corrected"
        errors = losses.cross_entropies(scaled, rows)
        loss = losses.focal(errors, scores, weight, self.alpha, self.gamma, by_event=is_corrected)
        if self.keys > 1:
            keys, asked = self._learned[KEYS].value, self._tensor(queries)
            if is_corrected:
                loss = loss + losses.contrastive(asked, keys, taken, counts, weight)
            else:
                loss = loss + losses.contrastive_as_published(asked, keys, taken, counts)
        self._taken += np.bincount(which, minlength=self.keys)
        return loss
