"""Losses of prompts and heads, over tensors; constants in them have no gradient."""

from __future__ import annotations

from typing import Any

_SMALL = 1e-12
"""A length below this counts as none, so that its direction is zeros."""

_ROUNDING = 1e-6
"""What the gradient of a class may owe to rounding, as a share of what was added up."""


def cosines(a: Any, b: Any) -> Any:
    """Cosines of the vectors of ``a`` (n, d) and ``b`` (m, d): (n, m), 0 where one has no length."""
    return unit(a) @ unit(b).T


def unit(vectors: Any) -> Any:
    """Vectors at length one along the last axis, zeros excepted."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(_SMALL)


def cross_entropies(logits: Any, rows: Any) -> Any:
    """Of each event (n, K), with the class that it has."""
    return logits.logsumexp(1) - logits.gather(1, rows[:, None])[:, 0]


def mean(values: Any, weight: Any) -> Any:
    """Weighted mean over events."""
    return (values * weight).sum() / weight.sum()


def masked_logits(features: Any, weights: Any, offsets: Any, masks: Any) -> tuple[Any, Any]:
    """Logits (n, K) times the factors 2 sigmoid of ``masks`` (n, K), and these factors."""
    factors = 2 * masks.sigmoid()
    return (features @ weights.T + offsets) * factors, factors


def ignore_scores(features: Any, logits: Any, factors: Any, rows: Any, weight: Any) -> Any:
    """How far the gradient of each event is from that of all of them: one less their cosine, (n,), from 0 to 2.

    Compared is the gradient of the cross-entropy by the weights of the event's own class, in closed form:
    g_i = mu_iy (p_iy - 1) f_i for the event and G_c = sum_j w_j mu_jc (p_jc - [y_j = c]) f_j for all of them. It is 1
    where a gradient is none.
    """
    errors = factors * (logits.softmax(1) - _one_hot(rows, logits))
    weighted = weight[:, None] * errors
    by_class = weighted.T @ features
    own = errors.gather(1, rows[:, None])[:, 0]
    lengths, added = by_class.norm(dim=1), weighted.abs().T @ features.norm(dim=1)
    is_there = lengths > _ROUNDING * added
    along = (unit(features) * unit(by_class)[rows]).sum(1) * own.sign()
    return 1 - along * is_there[rows]


def compensation(features: Any, weights: Any, rows: Any, margin: float) -> Any:
    """How badly each event fits the weights of its class: one less their cosine, plus the margin, (n,)."""
    return 1 - (unit(features) * unit(weights)[rows]).sum(1) + margin


def focal(losses: Any, scores: Any, weight: Any, alpha: float, gamma: float, *, by_event: bool) -> Any:
    """Mean of losses, of which the share ``alpha`` counts as much as its score to the power of ``gamma``.

    Not ``by_event``: means of losses and of scores are taken first.
    """
    if by_event:
        return mean((1 - alpha + alpha * scores**gamma) * losses, weight)
    return mean(losses, weight) * (1 - alpha + alpha * mean(scores**gamma, weight))


def contrastive(queries: Any, keys: Any, which: Any, counts: Any, weight: Any) -> Any:
    """Pulls a key to the queries that took it and away from other keys; of each event, then the mean.

    -log(A / (Q + A)) with Q = exp(d(q, k) / (n + 1)) and A the sum over the other keys k', which are constants, of
    exp(d(k, k') / (n + 1)); k is the key that was taken, n how often it had been, and d one less the cosine.

    Parameters
    ----------
    queries
        (n, d).
    keys
        (E, d), of which there are two at least.
    which, counts
        The key of each event (n,), and how often each key had been taken (E,).
    weight
        (n,).
    """
    times = counts[which] + 1
    taken = keys[which]
    pull = (1 - (unit(queries) * unit(taken)).sum(1)) / times
    push = (1 - cosines(taken, keys.detach())) / times[:, None]
    others = push.masked_fill(_one_hot(which, push).bool(), -float("inf")).logsumexp(1)
    return mean(pull.logaddexp(others) - others, weight)


def contrastive_as_published(queries: Any, keys: Any, which: Any, counts: Any) -> Any:
    """The same as the published code runs: means are taken first, and every distance meets every count.

    -log(A / (Q + A) + 1e-6) with Q the mean over events of exp(d(q, k) / (n + 1)) and A the mean over events, over all
    keys, that of the event included, and over the counts of all events, of exp(d(k, k') / (n' + 1)).
    """
    times = counts[which] + 1
    taken = keys[which]
    pull = ((1 - (unit(queries) * unit(taken)).sum(1)) / times).exp().mean()
    between = 1 - cosines(taken, keys)
    push = (between[:, None, :] / times[None, :, None]).exp().mean()
    return -(push / (pull + push) + 1e-6).log()


def _one_hot(rows: Any, like: Any) -> Any:
    return like.new_zeros(like.shape).scatter_(1, rows[:, None], 1.0)
