"""Learners that specifications can name."""

from typing import Literal

from learners.baselines import MajorityClassifier


class Toy(MajorityClassifier):
    """A learner to be specified. It has more to say than one sentence.

    Parameters
    ----------
    rate : float
        How fast it learns, e.g. 0.5; more than 0. Not used.
    depth, width
        Its size: whole
        numbers.
    rule
        One of two, see `Toy` [1]_: ``"sgd"`` or not. `More` to say.
    budget
        Bytes, or None for any number.
    warm
        Whether it starts warm.
    seed
        Of its random numbers.

    Notes
    -----
    rate
        Not a parameter here.
    """

    def __init__(
        self,
        rate: float = 0.1,
        depth: int = 3,
        *,
        width: int = 2,
        rule: Literal["sgd", "adagrad"] = "sgd",
        budget: int | None = None,
        warm: bool = False,
        title: str = "toy",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if not rate > 0:
            raise ValueError(f"rate must be more than 0, got {rate}")
        if width * depth > 1000:
            raise ValueError("depth times width must be at most 1000")
        self.rate, self.depth, self.width, self.rule = rate, depth, width, rule
        self.budget, self.warm, self.title, self.seed = budget, warm, title, seed


class Needy(MajorityClassifier):
    """A learner with a parameter that has no default."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


class NoLearner:
    """A class that learns nothing."""
