"""A classifier of river as a learner of the engine."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base, compose, multioutput
from river.active.base import ActiveLearningClassifier

from drift.pickled import from_arrays, to_arrays, trusting_pickle
from drift.river_detector import RiverDetector
from learners.base import Learner, State
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Prediction, Rows, named_features

Event = dict[Any, Any]

NO_CLASS = ""
"""What a multi-class model is told of an event without the one label of its stream; models sort it among the names."""


class RiverClassifier(Learner):
    """Any classifier of river, or a pipeline that ends in one.

    Parameters
    ----------
    model
        A `river.base.MultiLabelClassifier`, or a `river.base.Classifier` for streams with one class an event, of which
        a copy learns; None: it comes with the state.
    text, seed
        The specification it was made of, and the seed that filled the open ones, where there are such.

    Raises
    ------
    TypeError
        ``model`` is no classifier.

    Notes
    -----
    An event is a dictionary of the features that it has: missing and ignored ones are left out, as are zeros of sparse
    rows; a nominal feature is its category's name. Numbers are those of the batch, in single precision.

    A multi-label model is told of the labels that have been born, in the order of their birth, True or False, and of a
    partly labelled event only of those that are known. Where river's own loop tells a model of a label before the first
    event that has it, that model has seen more events.

    A classifier of one class is told the label that an event has, and nothing of a partly labelled one unless that
    label is known to be present. A binary one is told whether the event has the label that was born first: the stream
    has one label, which is there or not, or two of which each event has one. With one label alone, a multi-class model
    is told the empty string of an event without it. Streams that do not fit are refused at the first event that shows
    it.

    Weights are passed on where ``learn_one`` takes ``w``, and otherwise count for nothing. The probability of a label
    is what the model says that it is, cut to [0, 1], and 0 where it says nothing; models that have none give labels
    alone.

    One event at a time passes through river, at its speed. The state is a pickle of the model. It is not canonical: two
    models that answer alike may have other bytes. It is taken over only where it is trusted, and not between versions
    of river that may differ; see `drift.pickled`. ``nbytes`` is what river says of a model that cannot be pickled.

    Examples
    --------
    >>> from river import linear_model, multioutput
    >>> model = RiverClassifier(multioutput.PerOutputClassifier(linear_model.LogisticRegression()))
    >>> for size in range(100):
    ...     model.learn_one({"size": size / 50 - 1}, {"big": size > 50, "small": size <= 50})
    >>> model.predict_one({"size": 0.9})
    {'big': True, 'small': False}
    """

    def __init__(self, model: Any, *, text: str | None = None, seed: int | None = None) -> None:
        super().__init__()
        if model is not None:
            _checked(model)
        self.model, self.text, self.seed = model, text, seed
        self._born: dict[int, None] = {}
        self._without_class = False
        self._take(copy.deepcopy(model))

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        from river.linear_model import LogisticRegression

        yield {"model": multioutput.PerOutputClassifier(LogisticRegression())}

    def _take(self, model: Any) -> None:
        """Go on with a model, and look at what it can do."""
        self._model = model
        last = None if model is None else last_step(model)
        self._multilabel = isinstance(last, base.MultiLabelClassifier)
        self._multiclass = bool(getattr(last, "_multiclass", False))
        self._weighted = last is not None and takes_weight(last)
        self._has_proba = last is not None and has_proba(last)
        self._most_probable = last is not None and answers_most_probable(last)

    # Batches.

    def learn_batch(self, batch: Batch) -> None:
        """Learn the events of ``batch`` in order."""
        batch = self._admit(batch)
        with self._telling_of_nominal_features():
            for place, x in enumerate(self._events(batch)):
                self._learn(batch, place, x)

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        shape = len(batch), self.schema_.n_labels
        labels, proba = np.zeros(shape, np.bool_), np.zeros(shape)
        with self._telling_of_nominal_features():
            for place, x in enumerate(self._events(batch)):
                self._answer(x, labels[place], proba[place])
                if learn:
                    self._learn(batch, place, x)
        return Prediction(Rows.from_dense(labels), proba if self._has_proba else None)

    def _events(self, batch: Batch) -> Iterator[Event]:
        """The features of each event by name."""
        return (named_features(self.schema_, batch.x, place) for place in range(len(batch)))

    @contextmanager
    def _telling_of_nominal_features(self) -> Iterator[None]:
        """Many models of river take numbers alone, and say so by the operator that failed."""
        try:
            yield
        except TypeError as error:
            if not self.schema_.categories:
                raise
            name = self.schema_.feature_names[min(self.schema_.categories)]
            rule = "model must take text, as behind compose.SelectType(str) | preprocessing.OneHotEncoder()"
            raise TypeError(f"{rule}, where features are nominal, such as {name!r}, got {error}") from error

    # Answers.

    def _answer(self, x: Event, labels: NDArray[np.bool_], proba: NDArray[np.float64]) -> None:
        """Write the answer to one event into its row of labels and of probabilities."""
        said = self._proba(x)
        if said is not None and self._most_probable:
            chosen = None
        else:
            chosen = self._model.predict_one(x)
        if self._multilabel:
            self._answer_labels(said, chosen, labels, proba)
        elif self._multiclass:
            self._answer_class(said, chosen, labels, proba)
        else:
            self._answer_binary(said, chosen, labels, proba)

    def _proba(self, x: Event) -> Any:
        if not self._has_proba:
            return None
        try:
            return self._model.predict_proba_one(x)
        except NotImplementedError:
            self._has_proba = False
            return None

    def _answer_labels(self, said: Any, chosen: Any, labels: NDArray[np.bool_], proba: NDArray[np.float64]) -> None:
        names = self.schema_.label_names
        for label in self._born:
            of_label = (said or {}).get(names[label])
            if of_label:
                proba[label] = _probability(of_label.get(True, 0.0))
            if chosen is not None:
                labels[label] = bool(chosen.get(names[label], False))
            elif of_label:
                labels[label] = bool(max(of_label, key=of_label.get))

    def _answer_class(self, said: Any, chosen: Any, labels: NDArray[np.bool_], proba: NDArray[np.float64]) -> None:
        names = self.schema_.label_names
        if said and self._most_probable:
            chosen = max(said, key=said.get)
        for label in self._born:
            proba[label] = _probability((said or {}).get(names[label], 0.0))
            labels[label] = chosen is not None and chosen == names[label]

    def _answer_binary(self, said: Any, chosen: Any, labels: NDArray[np.bool_], proba: NDArray[np.float64]) -> None:
        if not self._born:
            return
        if said and self._most_probable:
            chosen = max(said, key=said.get)
        present = bool(chosen)
        p = _probability((said or {}).get(True, 0.0))
        for label, is_present, q in zip(self._born, (present, not present), (p, 1.0 - p), strict=False):
            labels[label], proba[label] = is_present, q

    # Learning.

    def _learn(self, batch: Batch, place: int, x: Event) -> None:
        state = batch.label_state[place]
        if state == UNLABELLED:
            return
        present = batch.y.row(place).tolist()
        known = None
        if state == PARTIAL:
            assert batch.known is not None
            known = set(batch.known.row(place).tolist())
            if not known:
                return
        self._born.update(dict.fromkeys(present))
        weight = {} if batch.weight is None or not self._weighted else {"w": float(batch.weight[place])}
        if self._multilabel:
            names, here = self.schema_.label_names, set(present)
            y = {names[label]: label in here for label in self._born if known is None or label in known}
            self._model.learn_one(x, y, **weight)
            return
        self._refuse_other_streams(present, state)
        if state == COMPLETE or present:
            self._model.learn_one(x, self._class(present), **weight)

    def _class(self, present: list[int]) -> Any:
        """What a model of one class an event is told."""
        if self._multiclass:
            return self.schema_.label_names[present[0]] if present else NO_CLASS
        return bool(present) and present[0] == next(iter(self._born))

    def _refuse_other_streams(self, present: list[int], state: int) -> None:
        """Raise where a model of one class an event does not fit."""
        name = type(last_step(self._model)).__name__
        several = "model must be one of several labels, such as multioutput.PerOutputClassifier"
        if len(present) > 1:
            raise ValueError(f"{several}, where an event has {len(present)} labels, got {name}")
        self._without_class |= state == COMPLETE and not present
        if self._without_class and len(self._born) > 1:
            raise ValueError(f"{several}, where there are {len(self._born)} labels and events without, got {name}")
        if len(self._born) > 2 and not self._multiclass:
            rule = "model must be one of several classes, such as multiclass.OneVsRestClassifier"
            raise ValueError(f"{rule}, where there are {len(self._born)}, got {name}")

    # State.

    @property
    def nbytes(self) -> int:
        """Bytes of everything learned."""
        try:
            return super().nbytes
        except TypeError:
            return int(self._model._raw_memory_usage)

    def set_state(self, state: Mapping[str, NDArray[Any]], *, trust_pickle: bool = False) -> None:
        """Take over what ``get_state`` of a learner with the same parameters gave.

        Raises
        ------
        UntrustedPickleError
            Neither ``trust_pickle`` nor `trusting_pickle` say that it may be read.
        ValueError
            The arrays are others, or another version of river wrote them.
        """
        with trusting_pickle(trust_pickle):
            super().set_state(state)

    def _get_state(self) -> State:
        told = np.array([self._without_class, self._has_proba])
        arrays = to_arrays((self.model, self._model), getattr(last_step(self._model), "packages", ()))
        return {**arrays, "born": np.array(list(self._born), np.int32), "told": told}

    def _set_state(self, state: State) -> None:
        parameters, model = from_arrays(state)
        self.model = parameters if self.model is None else self.model
        self._take(model)
        self._born = dict.fromkeys(state["born"].tolist())
        self._without_class, self._has_proba = map(bool, state["told"])


def from_river(model: Any) -> Learner | RiverDetector:
    """A model or a drift detector of river for the engine: a `RiverClassifier` or a `RiverDetector`.

    Parameters
    ----------
    model
        A classifier, a pipeline that ends in one, or a detector; a learner of the engine is given back as it is.

    Raises
    ------
    TypeError
        It is none of those.

    Examples
    --------
    >>> from river import multioutput, naive_bayes
    >>> type(from_river(multioutput.PerOutputClassifier(naive_bayes.GaussianNB()))).__name__
    'RiverClassifier'
    """
    if isinstance(model, Learner):
        return model
    if isinstance(model, (base.DriftDetector, base.BinaryDriftDetector)):
        return RiverDetector(model)
    return RiverClassifier(model)


def last_step(model: Any) -> Any:
    """What answers: the model itself, or the end of a pipeline."""
    while isinstance(model, compose.Pipeline) and len(model):
        model = model[-1]
    return model


def takes_weight(model: Any) -> bool:
    """Whether ``learn_one`` takes ``w``, by itself or by handing it on to the model that it wraps.

    Chains hand it to ``predict_proba_one`` as well, which takes none.
    """
    model = last_step(model)
    parameters = inspect.signature(model.learn_one).parameters
    if "w" in parameters:
        return True
    handed_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    inner = _wrapped(model)
    return handed_on and inner is not None and not isinstance(model, _CHAINS) and takes_weight(inner)


def has_proba(model: Any) -> bool:
    """Whether the model has probabilities, and the one that it wraps as well."""
    model = last_step(model)
    kinds = base.Classifier.predict_proba_one, base.MultiLabelClassifier.predict_proba_one
    if getattr(type(model), "predict_proba_one", kinds[0]) in kinds:
        return False
    inner = _wrapped(model)
    return inner is None or has_proba(inner)


def answers_most_probable(model: Any) -> bool:
    """Whether ``predict_one`` says nothing that ``predict_proba_one`` does not."""
    model = last_step(model)
    if isinstance(model, multioutput.PerOutputClassifier):
        return answers_most_probable(model.classifier)
    return type(model).predict_one in (base.Classifier.predict_one, base.MultiLabelClassifier.predict_one)


_CHAINS = (multioutput.ClassifierChain,)


def _wrapped(model: Any) -> Any:
    """The classifier inside another one, if there is one."""
    inner = getattr(model, "_wrapped_model", getattr(model, "model", None))
    return inner if isinstance(last_step(inner), (base.Classifier, base.MultiLabelClassifier)) else None


def _checked(model: Any) -> None:
    last = last_step(model)
    if inspect.isclass(model) or not isinstance(last, (base.Classifier, base.MultiLabelClassifier)):
        got = model.__name__ if inspect.isclass(model) else type(last).__name__
        raise TypeError(f"model must be a classifier of river or a pipeline that ends in one, got {got}")
    if isinstance(last, ActiveLearningClassifier):
        raise TypeError(f"model must answer with classes alone, got {type(last).__name__}, which also asks for labels")


def _probability(value: Any) -> float:
    """A number of river as a probability: those that rounding has left beyond [0, 1] are cut, NaN is 0."""
    return min(max(float(value), 0.0), 1.0) if value == value else 0.0
