"""Deep learners on tiny transformers: the laws that every learner obeys, and what each of them learns."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest

import ihomer
import learners
from ihomer.evaluation.continual import evaluate_continual
from ihomer.specs import SpecError, build
from learners.deep.learner import HEAD
from learners.deep.prompting import KEYS, OWN, SHARED, blocks_within, nearest
from streams.batch import COMPLETE, UNLABELLED, Batch, Prediction, Rows, Schema
from streams.siblurry.labelled import LabelledEvents
from tests.learners.tiny_transformers import SIZE, events, images, save_bert, save_vit, texts
from tests.naive import deep as naive

pytestmark = pytest.mark.deep

CASES = {
    "mvp": ("MVPClassifier", "vit", {"block": 16}),
    "mvp-paper": ("MVPClassifier", "bert", {"block": 16, "variant": "paper", "memory": 20, "replay": 8, "seed": 3}),
    "mvp-prefix": (
        "MVPClassifier",
        "bert",
        {"block": 20, "insertion": "prefix", "keys": 3, "memory": 9, "balanced": True},
    ),
    "finetune": ("FineTuneClassifier", "bert", {"block": 16}),
    "finetune-all": ("FineTuneClassifier", "bert", {"block": 16, "train": "all", "steps": 1}),
    "replay": ("ReplayClassifier", "vit", {"block": 16, "memory": 20, "replay": 8}),
    "l2p": ("L2PClassifier", "bert", {"block": 16, "keys": 6, "top": 3, "length": 2}),
    "dualprompt": ("DualPromptClassifier", "vit", {"block": 16, "memory": 10}),
}

NAMES = [f"y{label}" for label in range(5)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    pytest.importorskip("transformers", reason="needs transformers")
    folder = tmp_path_factory.mktemp("models")
    return {"vit": save_vit(folder / "vit"), "bert": save_bert(folder / "bert")}


@pytest.fixture(params=CASES)
def case(request, folders):
    """What makes a learner, and what kind of payload it takes."""
    name, kind, settings = CASES[request.param]
    return lambda **more: getattr(learners, name)(folders[kind], **settings, **more), kind


def stream(kind, n=70, seed=0) -> Batch:
    """Events of which some have two labels, some none, and label 4 comes half-way."""
    random = np.random.default_rng(seed)
    labels = [[int(label)] for label in random.integers(0, 4, n)]
    for event in range(n):
        if event > n // 2 and event % 3 == 0:
            labels[event] = [4]
        if event % 7 == 2:
            labels[event] = sorted({*labels[event], int(random.integers(0, 4))})
        if event % 11 == 5:
            labels[event] = []
    payloads = images(n, seed) if kind == "vit" else texts(n, seed)
    return events(payloads, labels, NAMES, random.choice([0.5, 1.0, 3.0], n))


def run(model, batch, cuts=()):
    edges = [0, *cuts, len(batch)]
    return Prediction.concat([model.test_then_train(batch[a:b]) for a, b in itertools.pairwise(edges)])


def assert_same_answers(a, b):
    assert a.labels.indices.tolist() == b.labels.indices.tolist()
    assert a.labels.indptr.tolist() == b.labels.indptr.tolist()
    assert a.proba.tobytes() == b.proba.tobytes()


def assert_same_state(a, b):
    mine, theirs = a.get_state(), b.get_state()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert (array.dtype, array.shape) == (theirs[name].dtype, theirs[name].shape), name
        assert array.tobytes() == theirs[name].tobytes(), name


# Laws.


def test_one_batch_equals_many(case):
    make, kind = case
    batch = stream(kind)
    one, many, learned = make(), make(), make()
    assert_same_answers(run(one, batch), run(many, batch, cuts=(1, 2, 9, 9, 40)))
    assert_same_state(one, many)
    for part in (batch[:33], batch[33:]):
        learned.learn_batch(part)
    assert_same_state(one, learned)


def test_test_then_train_is_predict_then_learn(case):
    make, kind = case
    batch = stream(kind, 40)
    fused, steps, parts = make(), make(), []
    answers = run(fused, batch)
    for event in range(len(batch)):
        parts.append(steps.predict_batch(batch[event : event + 1]))
        steps.learn_batch(batch[event : event + 1])
    assert_same_answers(answers, Prediction.concat(parts))
    assert_same_state(fused, steps)


def test_a_saved_learner_goes_on(case):
    make, kind = case
    batch = stream(kind)
    straight, model = make(), make()
    expected = run(straight, batch)[40:]
    run(model, batch[:40])
    restored = make()
    restored.set_state(model.get_state())
    for other in (restored, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same_state(model, other)
        assert_same_answers(expected, other.test_then_train(batch[40:]))
        assert_same_state(straight, other)


def test_the_same_seed_is_the_same_bytes_and_another_is_not(case):
    make, kind = case
    first, again, other = make(), make(), make()
    other.seed = 9
    other.set_state({**other.get_state()})
    for model in (first, again):
        run(model, stream(kind, 40))
    assert_same_state(first, again)
    different = other.clone()
    run(different, stream(kind, 40))
    assert different.get_state()[HEAD].tobytes() != first.get_state()[HEAD].tobytes()


def test_a_clone_is_fresh(case):
    make, kind = case
    model = make()
    run(model, stream(kind, 20))
    assert_same_state(model.clone(), make())


def test_predicting_changes_nothing_and_input_is_unchanged(case):
    make, kind = case
    model, batch = make(), stream(kind, 40)
    before = pickle.dumps(batch)
    model.learn_batch(batch)
    state = {name: array.tobytes() for name, array in model.get_state().items()}
    other = stream(kind, 5, seed=1)
    other.schema = Schema([], ["y4", "unheard", *NAMES[:3]])
    model.predict_batch(other)
    model.predict_batch(batch)
    assert {name: array.tobytes() for name, array in model.get_state().items()} == state
    assert pickle.dumps(batch) == before


def test_unlabelled_events_teach_nothing(case):
    make, kind = case
    batch = stream(kind, 40)
    taught = np.flatnonzero(np.diff(batch.y.indptr) > 0)
    batch.label_state[np.diff(batch.y.indptr) == 0] = UNLABELLED
    everything, labelled = make(), make()
    answers = run(everything, batch)
    expected = run(labelled, batch.take(taught))
    assert answers.proba[taught].tobytes() == expected.proba.tobytes()
    assert_same_state(everything, labelled)


def test_classes_that_have_not_come_are_never_answered(case):
    make, kind = case
    batch = stream(kind)
    answers = make().test_then_train(batch)
    came: set[int] = set()
    for event in range(len(batch)):
        assert answers.labels.row(event).tolist() == ([] if not came else [int(np.argmax(answers.proba[event]))])
        assert set(np.flatnonzero(answers.proba[event]).tolist()) == came
        assert answers.proba[event].sum() == pytest.approx(float(bool(came)))
        came |= set(batch.y.row(event).tolist())


def test_declared_labels_equal_discovered_ones(case):
    make, kind = case
    batch = stream(kind, 40)
    declared, found, parts = make(), make(), []
    answers = run(declared, batch)
    schema = Schema([])
    for event in range(len(batch)):
        labels = Rows.from_lists([[schema.label_id(NAMES[label]) for label in batch.y.row(event)]])
        one = batch[event : event + 1]
        parts.append(
            found.test_then_train(Batch(schema, one.x, labels, one.label_state, weight=one.weight, payload=one.payload))
        )
    names = found.schema_.label_names
    columns = [names.index(name) for name in NAMES]
    assert Prediction.concat(parts).proba[:, columns].tobytes() == answers.proba.tobytes()


def test_the_state_is_arrays_and_the_frozen_network_is_not_in_it(case):
    make, kind = case
    model = make()
    run(model, stream(kind, 20))
    state = model.get_state()
    assert all(isinstance(array, np.ndarray) and not array.dtype.hasobject for array in state.values())
    assert model.nbytes == sum(array.nbytes for array in state.values())
    names = [name for name in state if name.startswith("network.")]
    assert bool(names) == (getattr(model, "train", "head") == "all")


def test_a_foreign_state_is_refused(case):
    make, _ = case
    model = make()
    state = model.get_state()
    with pytest.raises(ValueError, match=r"state must hold the arrays .*, got .*'surplus'"):
        model.set_state({**state, "surplus": np.zeros(1)})
    with pytest.raises(
        ValueError, match=r"model must be the one that the state was learned on, of hash other, got [0-9a-f]{32}"
    ):
        model.set_state({**state, "backbone": np.frombuffer(b"other", np.uint8)})
    rows = {"block_rows": np.zeros(99, np.int32), "block_weight": np.ones(99), "block_kinds": np.zeros(99, np.uint8)}
    with pytest.raises(ValueError, match=r"state 'block_rows' must have fewer than \d+ rows, got 99"):
        model.set_state({**state, **rows, "block_ends": np.zeros(99, np.int64)})


def test_nothing_to_learn_is_learned(case):
    make, kind = case
    model = make()
    empty = stream(kind, 3)[:0]
    assert len(model.test_then_train(empty)) == len(model.predict_batch(empty)) == 0
    with pytest.raises(ValueError, match=r"payload must be a text or an image of each event for \w+, got none"):
        model.learn_one({"a": 1.0}, {"y": True})


def test_a_payload_that_cannot_be_read_changes_nothing(case):
    make, kind = case
    model, batch = make(), stream(kind, 30)
    model.learn_batch(batch[:20])
    state = {name: array.tobytes() for name, array in model.get_state().items()}
    batch.payload[25] = None
    with pytest.raises(ValueError, match=r"payload must be .*, got NoneType"):
        model.learn_batch(batch[20:])
    assert {name: array.tobytes() for name, array in model.get_state().items()} == state


def test_a_checkpoint_holds_it(case, tmp_path):
    make, kind = case
    model = make()
    run(model, stream(kind, 20))
    ihomer.save(model, tmp_path / "model.ckpt")
    assert_same_state(model, ihomer.load(tmp_path / "model.ckpt"))


# What is learned.


def coloured(n=320, seed=0):
    """Images of four colours, after the first half two more."""
    random = np.random.default_rng(seed)
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], [240, 240, 20], [20, 230, 230], [230, 20, 230]])
    codes = np.where(np.arange(n) < n // 2, random.integers(0, 4, n), random.integers(0, 6, n))
    noise = random.integers(-15, 16, (n, SIZE, SIZE, 3))
    payloads = [
        np.clip(colours[code] + grain, 0, 255).astype(np.uint8) for code, grain in zip(codes, noise, strict=True)
    ]
    return events(payloads, [[int(code)] for code in codes], [f"c{code}" for code in range(6)])


@pytest.mark.parametrize(
    "name", ["MVPClassifier", "FineTuneClassifier", "ReplayClassifier", "L2PClassifier", "DualPromptClassifier"]
)
def test_it_learns_what_can_be_learned(folders, name):
    model = getattr(learners, name)(folders["vit"], rate=0.02, steps=6, block=32)
    model.learn_batch(coloured())
    asked = coloured(80, seed=1)
    assert (model.predict_batch(asked).labels.indices == asked.y.indices).mean() > 0.6


def test_the_shared_network_stays_as_it_is(folders):
    model = learners.MVPClassifier(folders["vit"], block=16)
    model.learn_batch(stream("vit", 8))
    before = {name: weight.clone() for name, weight in model._network().model.state_dict().items()}
    model.learn_batch(stream("vit", 40))
    assert int(model._counters[1]) > 0
    assert all((weight == before[name]).all() for name, weight in model._network().model.state_dict().items())


def test_fine_tuning_of_everything_moves_the_network_of_its_learner_alone(folders):
    batch = stream("bert", 40)
    frozen = learners.FineTuneClassifier(folders["bert"], block=16)
    expected = frozen.predict_batch(batch)
    whole = learners.FineTuneClassifier(folders["bert"], block=16, train="all")
    start = whole.get_state()
    whole.learn_batch(batch)
    moved = whole.get_state()
    names = [name for name in start if name.startswith("network.") and name.endswith("query.weight")]
    assert names
    assert all(start[name].tobytes() != moved[name].tobytes() for name in names)
    assert_same_answers(frozen.predict_batch(batch), expected)


def test_a_block_that_is_not_full_teaches_nothing(folders):
    model = learners.MVPClassifier(folders["vit"], block=16)
    start = model.get_state()
    model.learn_batch(events(images(15), [[0]] * 15, NAMES))
    assert all(model.get_state()[name].tobytes() == start[name].tobytes() for name in (KEYS, OWN, SHARED, "taken"))
    model.learn_batch(events(images(1), [[0]], NAMES))
    assert model.get_state()["taken"].sum() == 3 * 16
    assert len(model.get_state()["block_rows"]) == 0


def test_an_event_is_an_entry_of_each_of_its_labels_in_the_order_of_birth(folders):
    model = learners.MVPClassifier(folders["bert"], block=16)
    batch = events(["w1", "w2"], [[3], [0, 3, 4]], NAMES, np.array([1.0, 2.0]))
    model.learn_batch(batch)
    state = model.get_state()
    assert state["class_labels"].tolist() == [3, 0, 4]
    assert state["block_rows"].tolist() == [0, 0, 1, 2]
    assert state["block_weight"].tolist() == [1.0, 2.0, 2.0, 2.0]
    assert state["block_bytes"].tobytes() == b"w1w2w2w2"


def test_masks_and_prompts_of_keys_that_were_not_taken_stay(folders):
    """In the first step; later ones go on where the momentum leads."""
    model = learners.MVPClassifier(folders["bert"], block=4, steps=1, keys=8)
    model.learn_batch(events(texts(3), [[0], [1], [0]], NAMES))
    start = model.get_state()
    model.learn_batch(events(texts(1, seed=1), [[1]], NAMES))
    state = model.get_state()
    idle = np.flatnonzero(state["taken"] == 0)
    busy = np.flatnonzero(state["taken"])
    assert len(idle)
    assert len(busy)
    for name, axis in (("masks", 1), (OWN, 0)):
        np.testing.assert_array_equal(state[name].take(idle, axis), start[name].take(idle, axis))
        assert (state[name].take(busy, axis) != start[name].take(busy, axis)).any()


def test_mvp_steps_as_its_formulas_say(folders):
    """One step of head, masks and keys, from features that the transformer gives, by numerical gradients."""
    model = learners.MVPClassifier(folders["bert"], block=6, steps=1, keys=3, rate=0.1, seed=2)
    batch = events(texts(6), [[0], [1], [2], [0], [1], [0]], NAMES, np.array([1.0, 2.0, 1.0, 0.5, 1.0, 1.0]))
    model.learn_batch(batch[:5])
    start = {
        name: array.astype(float)
        for name, array in model.get_state().items()
        if name in (HEAD, "offsets", "masks", KEYS)
    }
    items = model._read(batch.payload)
    queries = model._rows_of(batch.payload, items)
    which = naive.nearest(queries, start[KEYS], np.zeros(3), 1)[:, 0]
    features = model._network().features(items, model._prompts(which)).numpy().astype(float)
    rows, weight = batch.y.indices, batch.weight
    masks = start["masks"].T[which]
    scores = naive.ignore_scores(features, start[HEAD], start["offsets"], masks, rows, weight)
    scale = naive.compensation(features, start[HEAD], rows, 0.5)

    def loss(weights, offsets, by_key):
        each = [
            naive.cross_entropy(naive.logits(f, weights, offsets, by_key[key], r), row)
            for f, key, r, row in zip(features, which, scale, rows, strict=True)
        ]
        return naive.focal(each, scores, weight, 0.5, 2.0, True)

    head, offsets, by_key, keys = start[HEAD], start["offsets"], start["masks"].T.copy(), start[KEYS]
    expected = {
        HEAD: (head, naive.slope(lambda at: loss(at, offsets, by_key), head)),
        "offsets": (offsets, naive.slope(lambda at: loss(head, at, by_key), offsets)),
        "masks": (start["masks"], naive.slope(lambda at: loss(head, offsets, at), by_key).T),
        KEYS: (keys, naive.slope(lambda at: naive.contrastive(queries, at, which, np.zeros(3), weight, keys), keys)),
    }
    model.learn_batch(batch[5:])
    state = model.get_state()
    for name, (value, gradient) in expected.items():
        adam = naive.Adam(value, 0.1)
        adam.go(gradient)
        # The first step of Adam is as long whatever the gradient; where it is almost none its sign is chance.
        sure = np.abs(gradient) > 1e-5
        assert sure.mean() > 0.3, name
        np.testing.assert_allclose(state[name][sure], adam.value[sure], atol=1e-3, err_msg=name)
        np.testing.assert_allclose(state[f"{name}_first"], 0.1 * gradient, atol=1e-6, err_msg=name)
    assert state["taken"].tolist() == np.bincount(which, minlength=3).tolist()


def test_answers_are_softmax_of_masked_logits(folders):
    model = learners.MVPClassifier(folders["bert"], block=12, rate=0.05, keys=3)
    model.learn_batch(events(texts(24), [[number % 3] for number in range(24)], NAMES))
    asked = events(texts(5, seed=2), [[0]] * 5, NAMES)
    state, items = model.get_state(), model._read(asked.payload)
    which = naive.nearest(model._rows_of(asked.payload, items), state[KEYS], state["taken"], 1)[:, 0]
    features = model._network().features(items, model._prompts(which)).numpy()
    expected = [
        naive.softmax(naive.logits(feature, state[HEAD], state["offsets"], state["masks"][:, key]))
        for feature, key in zip(features, which, strict=True)
    ]
    found = model.predict_batch(asked)
    np.testing.assert_allclose(found.proba[:, :3], expected, rtol=1e-5)
    assert found.labels.indices.tolist() == np.argmax(expected, 1).tolist()


def test_the_nearest_keys_are_those_of_the_formula():
    random = np.random.default_rng(1)
    queries, keys = random.normal(size=(20, 6)), random.normal(size=(5, 6))
    counts = np.array([3, 0, 1, 0, 2])
    for n in (1, 3):
        np.testing.assert_array_equal(nearest(queries, keys, counts, n), naive.nearest(queries, keys, counts, n))


def test_a_key_that_was_taken_often_is_taken_less():
    """0.2 times 4 is more than 0.7 times 1."""
    keys = np.eye(2)
    query = np.array([[0.8, 0.6 * 0.5]])
    query[0, 1] = 0.3
    far = [naive.far(query[0], key) for key in keys]
    assert far[0] * 1 < far[1] * 1 < far[0] * 20
    assert nearest(query, keys, np.array([0, 0]), 1).tolist() == [[0]]
    assert nearest(query, keys, np.array([19, 0]), 1).tolist() == [[1]]


def test_the_pool_is_used_evenly(folders):
    model = learners.MVPClassifier(folders["vit"], block=8, keys=4, steps=2)
    model.learn_batch(stream("vit", 120))
    taken = model.get_state()["taken"]
    assert taken.min() > 0.5 * taken.mean()


def test_blocks_that_a_model_lacks_are_left_out():
    assert blocks_within((0, 1), (2, 3, 4), 12) == ((0, 1), (2, 3, 4))
    assert blocks_within((0, 1), (2, 3, 4), 4) == ((0, 1), (2, 3))
    assert blocks_within((0, 1), (2, 3, 4), 2) == ((0,), (1,))
    assert blocks_within((0, 1), (2, 3, 4), 1) == ((), (0,))
    for shared, own in (((0,), (0,)), ((), ()), ((-1,), (2,)), ((), (1, 1))):
        with pytest.raises(
            ValueError, match="e_blocks must be at least one block, from 0, and none in g_blocks or twice"
        ):
            blocks_within(shared, own, 4)


def test_the_published_variant_asks_before_the_last_block(folders):
    items_of = stream("vit", 3).payload
    paper = learners.MVPClassifier(folders["vit"], variant="paper")
    items = paper._read(items_of)
    expected = paper._network().features(items, before_last=True).numpy()
    np.testing.assert_array_equal(paper._rows_of(items_of, items), expected)


def test_features_of_payloads_are_remembered_for_a_while(folders, monkeypatch):
    from learners.deep import learner as module

    model = learners.FineTuneClassifier(folders["bert"])
    calls = []
    monkeypatch.setattr(model, "_query", lambda items, query=model._query: calls.append(len(items)) or query(items))
    monkeypatch.setattr(module, "QUERIES", 4)
    batch = events(["w1", "w2", "w1", "w3"], [[0]] * 4, NAMES)
    model.learn_batch(batch[:1])
    model.test_then_train(batch)
    model.predict_batch(batch)
    assert calls == [3]
    model.predict_batch(events([f"w{number} w9" for number in range(6)], [[0]] * 6, NAMES))
    assert len(model._queries) == 4


# Settings.

COMMON = [
    ({"rate": 0.0}, "rate must be above 0 and finite, got 0.0"),
    ({"steps": 0}, "steps must be at least 1, got 0"),
    ({"block": 0}, "block must be at least 1, got 0"),
    ({"memory": -1}, "memory must be at least 0, got -1"),
    ({"replay": -1}, "replay must be at least 0, got -1"),
    ({"threads": 0}, "threads must be at least 1, got 0"),
    ({"seed": -1}, "seed must be at least 0, got -1"),
    ({"limit": 0}, "limit must be from 1 to 40, got 0"),
    ({"limit": 41}, "limit must be from 1 to 40, got 41"),
    ({"device": "tpu"}, "device must be 'auto', 'cpu' or 'cuda', got 'tpu'"),
]

OWN_SETTINGS = [
    ("MVPClassifier", {"variant": "new"}, "variant must be 'corrected' or 'paper', got 'new'"),
    ("MVPClassifier", {"insertion": "adapter"}, "insertion must be 'prompt' or 'prefix', got 'adapter'"),
    ("MVPClassifier", {"keys": 0}, "keys must be at least 1, got 0"),
    ("MVPClassifier", {"g_length": -1}, "g_length must be at least 0, got -1"),
    ("MVPClassifier", {"e_length": 0}, "e_length must be at least 1, got 0"),
    ("MVPClassifier", {"margin": 0.0}, "margin must be above 0, got 0.0"),
    ("MVPClassifier", {"alpha": 1.5}, "alpha must be from 0 to 1, got 1.5"),
    ("MVPClassifier", {"gamma": -1.0}, "gamma must be at least 0, got -1.0"),
    ("FineTuneClassifier", {"train": "some"}, "train must be 'head' or 'all', got 'some'"),
    ("FineTuneClassifier", {"network_rate": 0.0}, "network_rate must be above 0, got 0.0"),
    ("L2PClassifier", {"length": 0}, "length must be at least 1, got 0"),
    ("L2PClassifier", {"top": 11}, "top must be from 1 to keys, which is 10, got 11"),
    ("L2PClassifier", {"pull": -1.0}, "pull must be at least 0, got -1.0"),
    ("DualPromptClassifier", {"pull": -1.0}, "pull must be at least 0, got -1.0"),
]


@pytest.mark.parametrize(
    ("name", "settings", "message"), [("FineTuneClassifier", *case) for case in COMMON] + OWN_SETTINGS
)
def test_a_bad_setting_is_refused(folders, name, settings, message):
    with pytest.raises(ValueError, match=message):
        getattr(learners, name)(folders["bert"], **settings)


def test_threads_are_given_back(folders):
    import torch

    before = torch.get_num_threads()
    seen = []
    model = learners.FineTuneClassifier(folders["bert"], threads=before + 1)
    query = model._query
    model._query = lambda items: seen.append(torch.get_num_threads()) or query(items)
    model.learn_batch(events(texts(64), [[0]] * 64, NAMES))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_without_shared_prompts(folders):
    model = learners.DualPromptClassifier(folders["vit"], g_length=0, block=8)
    run(model, stream("vit", 20))
    assert model.get_state()[SHARED].size == 0


# Among the others.


def test_it_is_made_from_text(folders):
    model = build(f"mvp:model={folders['vit']},variant=paper,e_blocks=(1,2),g_blocks=(0,)", seed=4)
    assert isinstance(model, learners.MVPClassifier)
    assert (model.variant, model.e_blocks, model.g_blocks, model.seed) == ("paper", (1, 2), (0,), 4)
    with pytest.raises(SpecError, match="mvp: model must be given"):
        build("mvp")


def test_it_takes_part_in_the_scenario(folders):
    batch = coloured(60)
    batch.label_state[:] = COMPLETE
    data = LabelledEvents("colours", batch, coloured(24, seed=1))
    result = evaluate_continual(data, {"mvp": learners.MVPClassifier(folders["vit"], block=16)}, seeds=1)
    assert {"a_auc", "a_last", "f_last"} <= result.runs[0].metrics.keys()
    assert 0 <= result.runs[0].metrics["a_last"] <= 1
