"""Losses of deep learners: values by the formulas, gradients numerically and by automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest

from learners.deep import losses
from learners.deep.adam import Learned
from tests.naive import deep as naive

pytestmark = pytest.mark.deep

N, D, K, E = 9, 5, 4, 3


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="needs PyTorch")


@pytest.fixture
def drawn():
    """Features, head, masks of each event, classes, weights, queries, keys and what was taken of them."""
    random = np.random.default_rng(3)
    return {
        "features": random.normal(size=(N, D)),
        "weights": random.normal(size=(K, D)),
        "offsets": random.normal(size=K),
        "masks": random.normal(size=(N, K)),
        "rows": np.append(np.arange(K), random.integers(0, K, N - K)),
        "weight": random.choice([0.5, 1.0, 3.0], N),
        "queries": random.normal(size=(N, D)),
        "keys": random.normal(size=(E, D)),
        "which": random.integers(0, E, N),
        "counts": np.array([0, 4, 1]),
    }


def tensors(torch, drawn):
    return {name: torch.tensor(value) for name, value in drawn.items()}


def gradient_of(torch, loss, value):
    at = torch.tensor(value, requires_grad=True)
    return torch.autograd.grad(loss(at), at)[0].numpy()


def test_masked_logits(torch, drawn):
    given = tensors(torch, drawn)
    found, factors = losses.masked_logits(given["features"], given["weights"], given["offsets"], given["masks"])
    expected = [
        naive.logits(f, drawn["weights"], drawn["offsets"], m)
        for f, m in zip(drawn["features"], drawn["masks"], strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(factors.numpy(), 2 / (1 + np.exp(-drawn["masks"])), rtol=1e-12)


def test_an_untaught_mask_takes_its_published_share(torch):
    """2 sigmoid(-1) is 0.538 of every logit, and of negative ones, too."""
    minus = torch.full((1, 2), -1.0)
    found, _ = losses.masked_logits(torch.ones(1, 1), torch.tensor([[2.0], [-2.0]]), torch.zeros(2), minus)
    np.testing.assert_allclose(found.numpy(), [[1.0758, -1.0758]], rtol=1e-4)


def scores_of(given):
    logits, factors = losses.masked_logits(given["features"], given["weights"], given["offsets"], given["masks"])
    return losses.ignore_scores(given["features"], logits, factors, given["rows"], given["weight"])


def test_ignore_scores_are_those_of_numerical_gradients(torch, drawn):
    expected = naive.ignore_scores(*(drawn[n] for n in ("features", "weights", "offsets", "masks", "rows", "weight")))
    np.testing.assert_allclose(scores_of(tensors(torch, drawn)).numpy(), expected, atol=1e-6)


def test_ignore_scores_are_those_of_automatic_differentiation(torch, drawn):
    """An event and a batch at a time, by one backward pass each, as the published code has it."""
    given = tensors(torch, drawn)

    def gradient(events):
        weights = given["weights"].clone().requires_grad_()
        logits, _ = losses.masked_logits(given["features"][events], weights, given["offsets"], given["masks"][events])
        errors = torch.nn.functional.cross_entropy(logits, given["rows"][events], reduction="none")
        return torch.autograd.grad((errors * given["weight"][events]).sum(), weights)[0]

    batch = gradient(slice(None))
    expected = [
        1 - torch.cosine_similarity(gradient(slice(i, i + 1))[row], batch[row], dim=0).item()
        for i, row in enumerate(drawn["rows"])
    ]
    np.testing.assert_allclose(scores_of(given).numpy(), expected, atol=1e-9)


def test_an_event_whose_gradients_are_none_is_neither_near_nor_far(torch):
    """The gradients of two events that say the opposite of one vector cancel."""
    features, rows = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    logits = torch.zeros(2, 2)
    found = losses.ignore_scores(features, logits, torch.ones(2, 2), rows, torch.ones(2))
    np.testing.assert_array_equal(found.numpy(), [1.0, 1.0])


def test_ignore_scores_worked_by_hand(torch):
    """Two events of one class of two, at right angles: each is 45 degrees off the sum."""
    features, rows = torch.eye(2, dtype=torch.float64), torch.tensor([0, 0])
    found = losses.ignore_scores(
        features, torch.zeros(2, 2).double(), torch.ones(2, 2).double(), rows, torch.ones(2).double()
    )
    np.testing.assert_allclose(found.numpy(), [1 - np.sqrt(0.5)] * 2, rtol=1e-12)


def test_compensation(torch, drawn):
    given = tensors(torch, drawn)
    found = losses.compensation(given["features"], given["weights"], given["rows"], 0.5)
    expected = naive.compensation(drawn["features"], drawn["weights"], drawn["rows"], 0.5)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    ends = losses.compensation(
        torch.tensor([[2.0, 0.0], [-2.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([0, 0]), 0.5
    )
    np.testing.assert_allclose(ends.numpy(), [0.5, 2.5])


def whole_loss(drawn, at, scores, scale, by_event):
    """The loss of the head by its formula, with one of its arrays moved and scores and scale as they are."""
    now = {**drawn, **at}
    errors = [
        naive.cross_entropy(naive.logits(f, now["weights"], now["offsets"], m, r), row)
        for f, m, r, row in zip(now["features"], now["masks"], scale, now["rows"], strict=True)
    ]
    return naive.focal(errors, scores, now["weight"], 0.5, 2.0, by_event)


@pytest.mark.parametrize("by_event", [True, False])
@pytest.mark.parametrize("name", ["features", "weights", "offsets", "masks"])
def test_the_focal_loss_and_its_gradients(torch, drawn, name, by_event):
    given = tensors(torch, drawn)
    scores = scores_of(given)
    scale = losses.compensation(given["features"], given["weights"], given["rows"], 0.5)

    def loss(at):
        now = {**given, name: at}
        features = now["features"] / scale[:, None]
        logits, _ = losses.masked_logits(features, now["weights"], now["offsets"], now["masks"])
        errors = losses.cross_entropies(logits, given["rows"])
        return losses.focal(errors, scores, given["weight"], 0.5, 2.0, by_event=by_event)

    def by_formula(at):
        return whole_loss(drawn, {name: at}, scores.numpy(), scale.numpy(), by_event)

    assert loss(given[name]).item() == pytest.approx(by_formula(drawn[name]), rel=1e-12)
    expected = naive.slope(by_formula, drawn[name])
    np.testing.assert_allclose(gradient_of(torch, loss, drawn[name]), expected, atol=1e-8)


def test_the_contrastive_loss_and_its_gradient(torch, drawn):
    given = tensors(torch, drawn)

    def loss(keys):
        return losses.contrastive(given["queries"], keys, given["which"], given["counts"], given["weight"])

    def by_formula(keys):
        told = (drawn[name] for name in ("which", "counts", "weight"))
        return naive.contrastive(drawn["queries"], keys, *told, others=drawn["keys"])

    assert loss(given["keys"]).item() == pytest.approx(by_formula(drawn["keys"]), rel=1e-12)
    found = gradient_of(torch, loss, drawn["keys"])
    np.testing.assert_allclose(found, naive.slope(by_formula, drawn["keys"]), atol=1e-8)


def test_the_published_contrastive_loss_and_its_gradient(torch, drawn):
    given = tensors(torch, drawn)

    def loss(keys):
        return losses.contrastive_as_published(given["queries"], keys, given["which"], given["counts"])

    def by_formula(keys):
        return naive.contrastive_as_published(drawn["queries"], keys, drawn["which"], drawn["counts"])

    assert loss(given["keys"]).item() == pytest.approx(by_formula(drawn["keys"]), rel=1e-12)
    found = gradient_of(torch, loss, drawn["keys"])
    np.testing.assert_allclose(found, naive.slope(by_formula, drawn["keys"]), atol=1e-8)


def test_the_contrastive_loss_worked_by_hand(torch):
    """A query on its key, and the other key at right angles: Q is 1 and A is e."""
    keys = torch.eye(2, dtype=torch.float64)
    found = losses.contrastive(keys[:1], keys, torch.tensor([0]), torch.tensor([0, 9]), torch.ones(1).double())
    assert found.item() == pytest.approx(np.log(1 + np.exp(-1)), rel=1e-12)


def test_adam_goes_as_the_paper_says(torch):
    random = np.random.default_rng(0)
    value, gradients = random.normal(size=(2, 3)), random.normal(size=(5, 2, 3))
    learned, expected = Learned(value.astype(np.float32), 0.1), naive.Adam(value, 0.1)
    for gradient in gradients:
        learned.step(torch.tensor(gradient, dtype=torch.float32))
        expected.go(gradient)
    np.testing.assert_allclose(learned.value.numpy(), expected.value, rtol=1e-5)


def test_rows_that_come_later_count_their_own_steps(torch):
    learned, late = Learned(np.zeros((1, 2), np.float32), 0.1, grows=True), naive.Adam(np.zeros(2), 0.1)
    learned.step(torch.ones(1, 2))
    learned.grow(np.zeros((1, 2), np.float32))
    learned.step(torch.full((2, 2), 3.0))
    late.go(np.full(2, 3.0))
    assert learned.steps.tolist() == [2, 1]
    np.testing.assert_allclose(learned.value[1].numpy(), late.value, rtol=1e-6)


def test_a_tensor_of_another_shape_is_refused(torch):
    learned = Learned(np.zeros((2, 3), np.float32), 0.1)
    other = Learned(np.zeros((2, 4), np.float32), 0.1).get_state("keys")
    with pytest.raises(ValueError, match=r"state 'keys' must have shape \(2, 3\), got \(2, 4\)"):
        learned.set_state("keys", other)
