"""Synthetic streams: the same events however they are read, as their definition has them, and as asked for."""

import itertools
import math

import numpy as np
import pytest

from streams import describe, encode_events, open_sink, open_source
from streams.batch import COMPLETE, NOMINAL, NUMERIC, Batch, Rows
from streams.memory import read_all
from streams.source import Source
from streams.synthetic import SyntheticSource, open_synthetic
from streams.synthetic.labels import MOST, label_shares
from streams.synthetic.numbers import Draws, derived_key, mixed, normal_quantile, uniform
from tests.naive import streams_synthetic as naive
from tests.streams.places import assert_same_batch, drained

CONCEPTS = ("tree", "rbf", "hyperplane")
DRIFTS = ("none", "sudden", "gradual", "incremental", "recurring", "labels")
SMALL = {"features": 5, "labels": 6, "events": 300}

VARIANTS = [
    {},
    {"sparse": 0.6},
    {"noise": 0.0},
    {"noise": 1.0, "dependence": 1.0},
    {"dependence": 0.0},
    {"labels": 1, "features": 1},
    {"labels": 40, "cardinality": 3.0},
]


# Random numbers.


def test_words_are_those_of_split_mix():
    """The first words from state 1234567, as published with implementations of SplitMix64."""
    words = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert naive.split_mix(1234567, 5) == words
    assert [uniform(np.uint64(1234567), i) for i in range(5)] == [(word // 4096 + 0.5) / 2**52 for word in words]


def test_keys_and_numbers_equal_their_twin():
    for numbers in [(0,), (1, 2, 3), (2**63 - 1, 0), (7, 2**64 - 1)]:
        assert derived_key(*numbers) == naive.derived_key(*numbers)
    assert int(mixed(np.uint64(2**64 - 5))) == naive.mixed(2**64 - 5)
    draws, key = Draws(derived_key(4)), naive.derived_key(4)
    parts = [draws.uniform(3), draws.uniform(0), draws.uniform(4)]
    assert np.concatenate(parts).tolist() == naive.uniforms(key, 7)
    assert sorted(draws.order(9)) == list(range(9))


def test_normal_quantile_equals_the_standard_library():
    shares = [2.0**-53, 1e-12, 1e-7, 0.01, 0.0749, 0.0751, 0.3, 0.5, 0.9, 0.9251, 1 - 1e-9, 1 - 2.0**-53]
    assert [normal_quantile(share) for share in shares] == pytest.approx(
        [naive.normal(share) for share in shares], rel=1e-15, abs=1e-15
    )


# Events.


def _source(concept, drift="none", **parameters):
    placed = {} if drift == "none" else {"positions": [100, 200]}
    passing = {"width": 60} if drift in ("gradual", "incremental", "labels", "recurring") else {}
    return SyntheticSource(concept, drift, **SMALL | placed | passing | parameters)


def _assert_equals_twin(source, **parameters):
    twin = naive.NaiveSynthetic(source, **parameters)
    batch, proba = read_all(source), source.probabilities(0, source.n_events)
    assert source.schema.sparse != isinstance(batch.x, np.ndarray)
    for number in range(len(batch)):
        x, p, present = twin.event(number)
        if isinstance(batch.x, Rows):
            assert batch.x.row(number).tolist() == list(x)
            values = batch.x.data[batch.x.indptr[number] : batch.x.indptr[number + 1]]
        else:
            assert list(x) == list(range(batch.x.shape[1]))
            values = batch.x[number]
        # The logarithm of two libraries may differ in its last digit.
        assert values.tolist() == pytest.approx(list(x.values()), rel=1e-6)
        assert proba[number].tolist() == pytest.approx(p, abs=1e-15)
        assert batch.y.row(number).tolist() == present


@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize("drift", DRIFTS)
def test_kernels_equal_their_twin(concept, drift):
    _assert_equals_twin(_source(concept, drift), concept=concept, drift=drift, **SMALL)


@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_kernels_equal_their_twin_with_other_parameters(concept, variant):
    parameters = SMALL | variant | {"events": 100, "seed": 8}
    _assert_equals_twin(SyntheticSource(concept, **parameters), concept=concept, **parameters)


@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize("drift", ["incremental", "sudden"])
def test_sparse_kernels_equal_their_twin_through_drift(concept, drift):
    parameters = {"sparse": 0.5, "features": 8, "seed": 2}
    source = _source(concept, drift, **parameters)
    _assert_equals_twin(source, concept=concept, drift=drift, **SMALL | parameters)


def test_nominal_features_equal_their_twin():
    parameters = SMALL | {"features": 6, "nominal": 4, "categories": 3}
    source = _source("tree", "incremental", **parameters)
    _assert_equals_twin(source, concept="tree", drift="incremental", **parameters)
    assert source.schema.kinds == [NUMERIC] * 2 + [NOMINAL] * 4
    assert source.schema.categories[5] == ["c0", "c1", "c2"]


@pytest.mark.parametrize("sparse", [0.0, 0.7])
@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize("drift", DRIFTS)
def test_any_cut_gives_the_same_events(concept, drift, sparse):
    whole = read_all(_source(concept, drift, sparse=sparse))
    assert len(whole) == 300
    for sizes in [(1,), (7, 64, 3), (300,), (1000,)]:
        assert_same_batch(drained(_source(concept, drift, sparse=sparse), sizes), whole)


@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize("drift", DRIFTS)
def test_resuming_gives_the_same_events(concept, drift):
    source = _source(concept, drift)
    source.next_batch(130)
    position, rest = source.position(), read_all(source)
    assert position == {"offset": 130}
    other = _source(concept, drift)
    other.resume(position)
    assert_same_batch(read_all(other), rest)
    source.resume(position)
    assert_same_batch(read_all(source), rest)
    source.resume(source.position())
    assert source.next_batch() is None


def test_probabilities_of_any_events():
    source = _source("hyperplane", "gradual")
    whole = source.probabilities(0, 300)
    assert np.array_equal(source.probabilities(120, 60), whole[120:180])
    assert source.probabilities(300, 0).shape == (0, 6)
    assert source.position() == {"offset": 0}
    for first, n in [(-1, 3), (299, 2), (3, -1)]:
        with pytest.raises(
            ValueError, match=r"first and first \+ n must be at least 0 and at most the 300 events, got "
        ):
            source.probabilities(first, n)


@pytest.mark.parametrize("concept", CONCEPTS)
def test_seeds(concept):
    one, same, other = (read_all(_source(concept, "sudden", seed=seed)) for seed in (1, 1, 2))
    assert_same_batch(one, same)
    assert not np.isin(one.x, other.x).any()
    assert not np.array_equal(one.y.indices, other.y.indices)


@pytest.mark.parametrize(
    ("concept", "drift", "counts"),
    [
        ("tree", "sudden", [370, 257, 212, 174, 176, 156, 168, 137]),
        ("tree", "incremental", [355, 260, 208, 203, 165, 148, 161, 121]),
        ("tree", "labels", [358, 281, 215, 184, 170, 150, 132, 118]),
        ("rbf", "sudden", [373, 252, 212, 208, 176, 145, 143, 130]),
        ("rbf", "incremental", [364, 240, 201, 194, 172, 130, 141, 124]),
        ("rbf", "labels", [372, 240, 203, 198, 169, 136, 131, 124]),
        ("hyperplane", "sudden", [378, 274, 211, 173, 189, 140, 140, 139]),
        ("hyperplane", "incremental", [374, 275, 213, 172, 179, 143, 136, 135]),
        ("hyperplane", "labels", [377, 257, 200, 176, 155, 154, 139, 129]),
    ],
)
def test_streams_stay_what_they_are(concept, drift, counts):
    """Labels counted in the first version of the generators: another count would be another stream of this name."""
    width = 1 if drift == "sudden" else 400
    batch = read_all(SyntheticSource(concept, drift, events=1000, labels=8, positions=[300], width=width))
    assert np.bincount(batch.y.indices).tolist() == counts


def test_what_comes_with_the_events():
    source = _source("rbf")
    assert isinstance(source, Source)
    batch = source.next_batch(10)
    assert batch.source == source.name == "synthetic-rbf-events=300-features=5-labels=6"
    assert batch.schema is source.schema
    assert source.schema.feature_names == ["x0", "x1", "x2", "x3", "x4"]
    assert source.schema.label_names == ["y0", "y1", "y2", "y3", "y4", "y5"]
    assert source.schema.kinds == [NUMERIC] * 5
    assert batch.x.dtype == np.float32
    assert (batch.label_state == COMPLETE).all()
    assert source.next_batch(10).offset.tolist() == list(range(10, 20))
    source.close()
    source.close()


@pytest.mark.parametrize("events", [0, None])
def test_without_end(events):
    source = SyntheticSource("tree", "sudden", events=events, positions=[2**40])
    assert source.n_events is None
    source.resume({"offset": 2**40 - 5})
    batch = source.next_batch(10)
    assert batch.offset[-1] == 2**40 + 4
    assert source.drifts[0].event == 2**40
    assert source.url == "synthetic:tree?drift=sudden&events=0&positions=1099511627776"
    assert_same_batch(_at(open_synthetic(source.url), 2**40 - 5).next_batch(10), batch)


def _at(source, offset):
    source.resume({"offset": offset})
    return source


def test_going_where_there_is_nothing():
    with pytest.raises(ValueError, match=r"position must lie in the 300 events, got 301"):
        _source("tree").resume({"offset": 301})
    with pytest.raises(ValueError, match=r"position must lie in a stream without end, got -1"):
        SyntheticSource(events=0).resume({"offset": -1})
    with pytest.raises(ValueError, match=r"max_events must be at least 1, got 0"):
        _source("tree").next_batch(0)


@pytest.mark.parametrize(
    ("concept", "parameters"),
    [("tree", {"nominal": 2}), ("tree", {"sparse": 0.5}), ("rbf", {"sparse": 0.5}), ("hyperplane", {})],
)
def test_written_and_read_again(tmp_path, concept, parameters):
    source = _source(concept, "gradual", **parameters)
    sink = open_sink(tmp_path / "events.jsonl.gz")
    while (batch := source.next_batch(64)) is not None:
        sink.write(encode_events(batch))
    sink.close()
    found = read_all(open_source(tmp_path / "events.jsonl.gz"))
    source.resume({"offset": 0})
    # Columns are numbered as a reader meets them.
    wanted, found = read_all(source), found.aligned(source.schema.copy())
    wanted.source = found.source
    assert_same_batch(found, wanted)


# URLs.


@pytest.mark.parametrize(
    "url",
    [
        "synthetic:tree",
        "synthetic:hyperplane?drift=gradual&events=2000&positions=500+1500&width=20",
        "synthetic:rbf?drift=labels&events=500&seed=7&labels=14&cardinality=4.5",
        "synthetic:tree?drift=recurring&events=500&drifts=4&features=9&skew=1.0&noise=0.5&nominal=3",
    ],
)
def test_urls_name_streams(url):
    source = open_source(url)
    assert isinstance(source, SyntheticSource)
    assert source.url == url
    assert_same_batch(open_synthetic(source.url).next_batch(50), source.next_batch(50))


def test_url_with_every_parameter():
    url = (
        "synthetic:rbf?drift=incremental&events=900&seed=3&drifts=2&width=10&features=7&labels=9&cardinality=3&skew=0"
        "&noise=0.1&dependence=1&group_size=4&sparse=0.5&nominal=0&categories=2&depth=2&centroids=8"
    )
    source = open_synthetic(url)
    wanted = SyntheticSource(
        "rbf",
        "incremental",
        events=900,
        seed=3,
        drifts=2,
        width=10,
        features=7,
        labels=9,
        cardinality=3,
        skew=0,
        noise=0.1,
        dependence=1,
        group_size=4,
        sparse=0.5,
        categories=2,
        depth=2,
        centroids=8,
    )
    assert_same_batch(_renamed(read_all(source)), _renamed(read_all(wanted)))


def _renamed(batch):
    batch.source = ""
    return batch


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synthetic:", "synthetic:: concept must be one of tree, rbf, hyperplane, got ''"),
        ("synthetic:tre", "got 'tre'; did you mean tree?"),
        ("synthetic:tree?drfit=none", "parameter must be one of drift, positions, events, "),
        ("synthetic:tree?drfit=none", "got 'drfit'; did you mean drift?"),
        ("synthetic:tree?drift=suden", "incremental, recurring, labels, got 'suden'; did you mean sudden?"),
        ("synthetic:tree?seed=1&seed=2", "seed must be given once, got it twice"),
        ("synthetic:tree?seed", "seed must have a value, got 'seed'"),
        ("synthetic:tree?seed=", "seed must have a value, got 'seed='"),
        ("synthetic:tree?", None),
        ("synthetic:tree?seed=1&", "got ''"),
        ("synthetic:tree?seed=x", "seed must be a whole number, got 'x'"),
        ("synthetic:tree?noise=x", "noise must be a number, got 'x'"),
        ("synthetic:tree?noise=nan", "noise must be from 0 to 1, got nan"),
        ("synthetic:tree?drift=sudden&positions=3,4", "positions must be whole numbers parted by +, got '3,4'"),
        ("synthetic:tree?seed=-1", "seed must be from 0 to 9223372036854775807, got -1"),
        ("synthetic:tree?sparse=1", "sparse must be from 0 to 0.9999, got 1.0"),
        ("synthetic:rbf?nominal=2", "nominal must be 0 but for tree with dense rows, got 2"),
        ("synthetic:tree?nominal=2&sparse=0.5", "nominal must be 0 but for tree with dense rows, got 2"),
        ("synthetic:tree?nominal=20", "nominal must be below the 20 features, got 20"),
        ("synthetic:tree?cardinality=0", "cardinality must be above 0 and at most 9 for 10 labels, got 0.0"),
        ("synthetic:tree?labels=2&cardinality=1.9", "at most 1.8 for 2 labels, got 1.9"),
        ("synthetic:tree?depth=13", "depth must be from 1 to 12, got 13"),
        ("synthetic:tree?width=3", "width must not be given where drift is none, got 3"),
        ("synthetic:tree?drift=sudden&width=3", "width must be 1 where drift is sudden, got 3; gradual drift has a"),
        ("synthetic:tree?drift=sudden&positions=5&drifts=1", "drifts must not be given beside positions, got 1"),
        ("synthetic:tree?drift=sudden&positions=5+4", "positions must ascend, got [5, 4]"),
        ("synthetic:tree?drift=sudden&positions=0", "must be at least 1 and below the 100000 events, got [0]"),
        ("synthetic:tree?drift=sudden&positions=9&events=9", "must be at least 1 and below the 9 events, got [9]"),
        ("synthetic:tree?drift=sudden&events=0", "positions must be given for sudden drift in a stream without end"),
        (
            "synthetic:tree?drift=sudden&events=3&drifts=3",
            "drifts must be at least 1 and fewer than the 3 events, got 3",
        ),
        (
            "synthetic:tree?drift=gradual&positions=5+9&width=5",
            "width must fit between the drift at 5 and the next drift at 9, got 5",
        ),
        ("synthetic:tree?drift=gradual&events=9&positions=5&width=5", "at 5 and the end at 9, got 5"),
        (
            "synthetic:tree?drift=labels&labels=2",
            "labels drift must have more labels than one group, groups of 2 or more",
        ),
        ("synthetic:tree?drift=labels&noise=0", "got labels=10, group_size=3, dependence=0.7, noise=0"),
    ],
)
def test_urls_that_name_nothing(text, message):
    if message is None:
        assert open_synthetic(text).url == "synthetic:tree"
        return
    with pytest.raises(ValueError, match=r"^synthetic:") as caught:
        open_synthetic(text)
    assert message in str(caught.value)


def test_wrong_parameters_in_python():
    with pytest.raises(ValueError, match=r"concept must be one of tree, rbf, hyperplane, got 'sea'"):
        SyntheticSource("sea")
    with pytest.raises(TypeError, match=r"events must be a whole number, got 10.5"):
        SyntheticSource(events=10.5)
    with pytest.raises(ValueError, match=r"positions must name an event, got none"):
        SyntheticSource(drift="sudden", positions=[])
    with pytest.raises(ValueError, match=r"positions must be at least 1, got \[0\]"):
        SyntheticSource(drift="sudden", positions=[0], events=0)


# As asked for.


@pytest.mark.parametrize(
    ("labels", "cardinality", "skew"), [(10, 2.0, 0.0), (10, 3.0, 1.0), (374, 4.0, 0.5), (5, 4.5, 2.0), (3, 2.0, 5.0)]
)
def test_label_shares_add_up(labels, cardinality, skew):
    shares = label_shares(labels, cardinality, skew)
    assert shares.sum() == pytest.approx(cardinality, rel=1e-12)
    assert (np.diff(shares) <= 0).all()
    assert ((shares > 0) & (shares <= MOST)).all()
    free = shares[shares < MOST]
    ranks = np.arange(1, labels + 1)[shares < MOST]
    assert free * ranks**skew == pytest.approx(np.full(len(free), free[:1] * ranks[:1] ** skew))


SHAPES = [
    {"labels": 14, "cardinality": 4.0},
    {"labels": 101, "cardinality": 4.4, "skew": 1.0},
    {"labels": 374, "cardinality": 3.5, "skew": 0.7},
]


@pytest.mark.parametrize("drift", ["none", "incremental", "gradual"])
@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_shares_and_cardinality_are_as_asked(concept, drift, shape):
    """Within 5 standard errors: some 4,400 shares are looked at, of which one is further off once in 400 runs."""
    n = 10_000
    passing = {} if drift == "none" else {"positions": [1000], "width": 8000}
    source = SyntheticSource(concept, drift, events=n, seed=5, **shape, **passing)
    batch = read_all(source)
    y = batch.y.to_dense(shape["labels"]).astype(np.float64)
    asked = source.label_shares
    assert asked.sum() == pytest.approx(shape["cardinality"])
    assert (np.abs(y.mean(0) - asked) < 5 * np.sqrt(asked * (1 - asked) / n)).all()
    assert abs(y.sum(1).mean() - shape["cardinality"]) < 5 * y.sum(1).std() / math.sqrt(n)
    # And labels are what the probabilities say, at every size of probability.
    proba = source.probabilities(0, n)
    for low, high in itertools.pairwise([0, 0.01, 0.1, 0.5, 1]):
        cells = (proba >= low) & (proba < high)
        spread = math.sqrt(shape["labels"] * (proba[cells] * (1 - proba[cells])).sum())
        assert abs(y[cells].sum() - proba[cells].sum()) <= 5 * spread


@pytest.mark.parametrize("parameters", [{}, {"nominal": 5}, {"sparse": 0.8}, {"depth": 8}])
def test_trees_know_the_probability_of_their_leaves(parameters):
    """Within 5 standard errors: what the splits say of a leaf is how often it is reached."""
    n = 40_000
    source = SyntheticSource("tree", events=n, noise=0.0, labels=3, cardinality=1.2, features=8, **parameters)
    means = source.probabilities(0, n).mean(0)
    asked = source.label_shares
    assert (np.abs(means - asked) < 5 * np.sqrt(asked * (1 - asked) / n)).all()


@pytest.mark.parametrize(("concept", "mean", "variance"), [("tree", 1 / 2, 1 / 12), ("hyperplane", 0, 1)])
def test_features_are_independent_and_of_one_kind(concept, mean, variance):
    """Within 5 standard errors, those of moments of normal numbers, which are no smaller than of uniform ones."""
    n = 40_000
    x = read_all(SyntheticSource(concept, events=n, features=6)).x.astype(np.float64)
    assert (np.abs(x.mean(0) - mean) < 5 * math.sqrt(variance / n)).all()
    assert (np.abs(x.var(0) / variance - 1) < 5 * math.sqrt(2 / n)).all()
    assert (np.abs(np.corrcoef(x.T)[np.triu_indices(6, 1)]) < 5 / math.sqrt(n)).all()
    assert (np.abs([np.corrcoef(x[1:, f], x[:-1, f])[0, 1] for f in range(6)]) < 5 / math.sqrt(n)).all()


@pytest.mark.parametrize("concept", CONCEPTS)
def test_sparse_rows_have_as_many_cells_as_asked(concept):
    n, features, sparse = 5000, 400, 0.95
    batch = read_all(SyntheticSource(concept, events=n, features=features, sparse=sparse, seed=3))
    assert isinstance(batch, Batch)
    assert isinstance(batch.x, Rows)
    lengths = np.diff(batch.x.indptr)
    assert abs(lengths.mean() - 20) < 5 * math.sqrt(19 / n)
    assert all((np.diff(batch.x.row(i)) > 0).all() for i in range(n))
    if concept == "rbf":
        assert set(lengths.tolist()) == {20}


@pytest.mark.parametrize("dependence", [0.0, 0.4, 1.0])
def test_pairs_of_labels_are_as_dependent_as_asked(dependence):
    """Labels that heed no features: the share of each pair is known. Within 5 standard errors."""
    n = 40_000
    source = SyntheticSource("tree", events=n, noise=1.0, dependence=dependence, labels=9, cardinality=3, depth=1)
    y = read_all(source).y.to_dense(9)
    groups, shares = source.groups[0], source.label_shares
    assert sorted(np.bincount(groups).tolist()) == [3, 3, 3]
    for i, j in itertools.combinations(range(9), 2):
        alone = shares[i] * shares[j]
        mixture = dependence * min(shares[i], shares[j]) + (1 - dependence) * alone
        wanted = mixture if groups[i] == groups[j] else alone
        assert abs((y[:, i] * y[:, j]).mean() - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / n)


def test_what_is_told_of_a_stream_names_its_drifts():
    told = describe("synthetic:tree?drift=gradual&events=2000&labels=4&seed=3")
    assert (told["n_events"], told["n_features"], told["n_labels"]) == (2000, 20, 4)
    assert told["drifts"] == [{"event": 1000, "width": 20, "kind": "gradual", "before": 0, "after": 1}]
    assert "drifts" not in describe("synthetic:tree?events=10")
    with pytest.raises(ValueError, match=r"events must be above 0 for a stream to be counted, got one without end"):
        describe("synthetic:tree?events=0")
