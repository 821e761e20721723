"""Si-Blurry: who comes when, what sessions come to, and that a stream gives nothing else away."""

from __future__ import annotations

import numpy as np
import pytest

from streams.batch import Batch, Rows
from streams.memory import read_all
from streams.siblurry import SiBlurry, open_siblurry
from streams.siblurry.arrangement import BLURRY, DISJOINT, DROPPED
from streams.siblurry.images import read_folder
from streams.siblurry.labelled import NO_LABEL, LabelledEvents, load_events


def labels(n_classes, n_each, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(n_classes), n_each))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("donation", ["random", "head"])
@pytest.mark.parametrize("varying", [True, False])
def test_every_sample_has_one_place(seed, donation, varying):
    random = np.random.default_rng(seed)
    y = random.integers(random.integers(1, 40), size=random.integers(1, 600))
    scenario = SiBlurry(
        random.integers(101), random.integers(101), sessions=1 + seed % 7, seed=seed, donation=donation, varying=varying
    )
    found = scenario.order(y)
    assert sorted(found.indices.tolist()) == list(range(len(y)))
    assert not len(found.dropped)
    assert (np.array(found.classes)[found.codes] == y[found.indices]).all()
    assert (np.diff(found.session) >= 0).all()
    assert found.ends[-1] == len(y)
    assert (found.counts().sum(1) == np.bincount(found.codes)).all()
    assert (found.counts(7).sum(1) == np.bincount(found.codes)).all()
    n_disjoint = int(len(found.classes) * scenario.n // 100)
    assert found.kind.count(DISJOINT) == n_disjoint
    for row, (home, kind) in enumerate(zip(found.home, found.kind, strict=True)):
        sessions = set(found.session[found.codes == row].tolist())
        assert kind == BLURRY or sessions == {home}


def test_same_seed_same_order():
    y = labels(30, 20)
    one, same, other = (SiBlurry(seed=seed).order(y).indices.tolist() for seed in (4, 4, 5))
    assert one == same
    assert one != other


def test_special_cases():
    y = labels(20, 50)
    classic = SiBlurry(100, 10, seed=2).order(y)
    assert set(classic.kind) == {DISJOINT}
    assert sum(classic.statistics["visitors"]) == 0
    blurry = SiBlurry(0, 10, seed=2).order(y)
    assert set(blurry.kind) == {BLURRY}
    # Of the 100 samples that leave, a few come home again.
    away = sum(share * n for share, n in zip(blurry.statistics["visitors"], blurry.statistics["events"], strict=True))
    assert 50 < round(away) <= 100
    fixed = SiBlurry(50, 10, seed=2, varying=False).order(y)
    assert fixed.statistics["events"] == [200] * 5
    assert fixed.statistics["disjoint_classes"] == [2] * 5
    assert SiBlurry(sessions=1).order(y).statistics["events"] == [1000]


def test_fixed_sessions_share_what_does_not_divide():
    y = labels(13, 7)
    found = SiBlurry(50, 30, sessions=5, varying=False).order(y)
    homes = [sorted(np.bincount(found.home[np.array(found.kind) == kind], minlength=5)) for kind in (DISJOINT, BLURRY)]
    assert homes == [[1, 1, 1, 1, 2], [1, 1, 1, 2, 2]]
    assert len(found) == len(y)


def test_the_published_generator_drops_remainders():
    y = labels(13, 7)
    found = SiBlurry(50, 30, drop_remainder=True).order(y)
    assert [found.kind.count(kind) for kind in (DISJOINT, BLURRY, DROPPED)] == [5, 5, 3]
    assert len(found.dropped_classes) == 3
    assert found.dropped.tolist() == np.flatnonzero(np.isin(y, found.dropped_classes)).tolist()
    assert (found.home[[found.classes.index(name) for name in found.dropped_classes]] == -1).all()
    fixed = SiBlurry(50, 30, drop_remainder=True, varying=False).order(labels(10, 7))
    # Every session has one blurry class, gives 2 of its samples and gets 2 back.
    assert len(fixed.dropped) == 0
    lossy = SiBlurry(0, 50, drop_remainder=True, varying=False, sessions=3).order(labels(3, [5, 4, 5]))
    # 2 samples leave each session: all come back. Nothing is lost until the pool does not divide.
    assert len(lossy.dropped) == 0
    lossy = SiBlurry(0, 50, drop_remainder=True, varying=False, sessions=3).order(labels(3, [5, 3, 2]))
    assert len(lossy.dropped) == (5 // 2 + 3 // 2 + 2 // 2) % 3


def test_the_head_leaves_first():
    y = np.repeat([0, 1], 100)
    found = SiBlurry(0, 20, sessions=2, varying=False, donation="head").order(y)
    moved = found.indices[found.session != found.home[found.codes]]
    assert len(moved)
    assert (moved % 100 < 20).all()
    scattered = SiBlurry(0, 20, sessions=2, varying=False).order(y)
    assert (scattered.indices[scattered.session != scattered.home[scattered.codes]] % 100 >= 20).any()


def test_strings_and_truth_values_are_classes_too():
    found = SiBlurry(sessions=2).order(["b", "a", "b"])
    assert found.classes == ["a", "b"]
    assert SiBlurry(sessions=2).order(np.array([True, False])).classes == [False, True]
    assert len(SiBlurry().order([])) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 101}, "n must be from 0 to 100, got 101"),
        ({"m": -1}, "m must be from 0 to 100, got -1"),
        ({"m": float("nan")}, "m must be from 0 to 100, got nan"),
        ({"sessions": 0}, "sessions must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"donation": "tail"}, "donation must be 'random' or 'head', got 'tail'"),
    ],
)
def test_a_wrong_parameter_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SiBlurry(**settings)


def test_wrong_classes_are_refused():
    with pytest.raises(ValueError, match=r"y must have shape \(n,\), got \(2, 1\)"):
        SiBlurry().order([[1], [2]])
    with pytest.raises(TypeError, match="y must hold integers, truth values or strings, got float64"):
        SiBlurry().order([1.5])


# Golden: simulations that a study of the published generator states for 100 classes of 500 samples (300 draws) and 200
# of 500 (100 draws). A tolerance is four standard errors of the difference between two simulations of that length.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_classes", "n_draws", "donation", "seen", "spread", "present", "without"),
    [
        (100, 300, "head", [0.53, 0.67, 0.79, 0.89], [0.12, 0.11, 0.10, 0.08], 51, 0.22),
        (200, 100, "random", [0.51, 0.71, 0.81, 0.90], [0.14, 0.11, 0.10, 0.08], 97, 0.08),
    ],
)
def test_sessions_come_to_what_is_published(n_classes, n_draws, donation, seen, spread, present, without):
    y = labels(n_classes, 500)
    draws = [SiBlurry(seed=seed, donation=donation).order(y).statistics for seed in range(n_draws)]
    error = 4 * np.sqrt(2 / n_draws)
    shares = np.array([draw["share"] for draw in draws])
    assert shares.mean() == pytest.approx(0.2)
    assert shares.std() == pytest.approx(0.11, abs=0.01)
    came = np.array([draw["seen"] for draw in draws])
    assert (np.abs(came.mean(0)[:4] - seen) < error * np.array(spread)).all()
    assert (np.abs(came.std(0)[:4] - spread) < error / np.sqrt(2) * np.array(spread)).all()
    n_present = np.array([np.mean(draw["classes"]) for draw in draws])
    assert n_present.mean() == pytest.approx(present, abs=error * n_present.std() + 0.5)
    lacking = np.mean([min(draw["disjoint_classes"]) == 0 for draw in draws])
    assert lacking == pytest.approx(without, abs=error * np.sqrt(without * (1 - without)))
    smallest = np.array([min(draw["events"]) for draw in draws])
    assert n_classes != 100 or (2800 < np.median(smallest) < 4200 and np.mean(smallest < 1000) < 0.1)


# Streams.


def numbered(n_classes=8, n_each=12):
    y = labels(n_classes, n_each)
    x = np.arange(len(y), dtype=np.float32).reshape(-1, 1)
    return x, y


def test_a_stream_holds_the_events_in_order():
    x, y = numbered()
    source = SiBlurry(seed=3).stream((x, y))
    whole = read_all(source)
    assert whole.x[:, 0].astype(int).tolist() == source.arrangement.indices.tolist()
    names = [whole.schema.label_names[label] for label in whole.y.indices]
    assert names == y[source.arrangement.indices].tolist()
    assert source.n_events == len(y)
    assert source.next_batch() is None


def test_nothing_but_events_comes_out():
    source = SiBlurry(seed=3).stream(numbered())
    seen: list[int] = []
    while (batch := source.next_batch(5)) is not None:
        seen = list(dict.fromkeys([*seen, *batch.y.indices.tolist()]))
        # Labels are numbered as they come, and none is named before.
        assert seen == list(range(batch.schema.n_labels))
        assert batch.key is None
        assert batch.weight is None
        assert batch.time is None
        assert batch.offset.tolist() == list(range(batch.offset[0], batch.offset[0] + len(batch)))
    assert source.births.tolist() == sorted(source.births)
    assert [source.labels_by(place) for place in (0, 1, source.n_events)] == [0, 1, 8]


def test_a_stream_goes_on_where_it_was():
    scenario, data = SiBlurry(seed=3), numbered()
    source = scenario.stream(data)
    source.next_batch(40)
    position, rest = source.position(), read_all(source)
    again = scenario.stream(data)
    again.resume(position)
    found = read_all(again)
    assert (found.x == rest.x).all()
    assert found.y.indices.tolist() == rest.y.indices.tolist()
    assert found.schema == rest.schema
    with pytest.raises(ValueError, match="position must lie in the 96 events, got 97"):
        again.resume({"offset": 97})
    with pytest.raises(ValueError, match="max_events must be at least 1, got 0"):
        again.next_batch(0)


def test_of_several_labels_the_rarest_is_the_class():
    y = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]])
    events = load_events((np.zeros((5, 1)), y))
    # Label 0 is there 4 times, 1 and 2 twice each: of these two the first.
    assert events.classes(events.batch).tolist() == [1, 0, 2, NO_LABEL, 1]
    assert not events.is_single_label
    source = SiBlurry(seed=1).stream((np.arange(5.0).reshape(-1, 1), y))
    whole = read_all(source)
    columns = [whole.schema.label_names.index(name) for name in ("y0", "y1", "y2")]
    assert whole.y.to_dense(3)[:, columns].tolist() == y[source.arrangement.indices].tolist()


def test_a_share_of_every_class_is_set_aside():
    y = np.repeat([0, 1, 2, 3], [10, 1, 2, 50])
    events = load_events((np.arange(len(y), dtype=float).reshape(-1, 1), y))
    split = events.set_aside(0.2, seed=1)
    assert np.bincount(split.test.y.indices, minlength=4).tolist() == [2, 0, 1, 10]
    together = np.concatenate([split.batch.x, split.test.x])[:, 0]
    assert sorted(together.tolist()) == list(range(len(y)))
    same, other = events.set_aside(0.2, seed=1), events.set_aside(0.2, seed=2)
    assert (same.test.x == split.test.x).all()
    assert (other.test.x != split.test.x).any()
    with pytest.raises(ValueError, match="share must be between 0 and 1, got 1"):
        events.set_aside(1, seed=1)


def test_an_archive_tells_what_is_set_aside(tmp_path):
    path = tmp_path / "features.npz"
    np.savez(path, x=np.eye(4), y=[7, 5, 7, 9], x_test=np.eye(4)[:3], y_test=[9, 5, 6])
    events = load_events(path)
    assert events.name == "features"
    assert events.path == path
    # 6 is never learned, so that nobody asks about it.
    assert [events.test.y.row(row).tolist() for row in range(3)] == [[2], [0], []]
    assert load_events(events) is events


def test_data_must_be_labelled():
    with pytest.raises(ValueError, match="memory: labels of every event must be known, got 2 events without"):
        load_events(Batch.from_arrays(np.eye(2)))
    with pytest.raises(ValueError, match="arrays: data must hold at least one event, got none"):
        load_events((np.zeros((0, 2)), np.zeros(0, int)))


def test_a_folder_of_folders_is_carried_as_payload(tmp_path):
    for part, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                (tmp_path / part / name / f"{number}.jpg").write_bytes(f"{part} {name} {number}".encode())
    events = read_folder(tmp_path)
    assert len(events.test) == 4
    source = SiBlurry(sessions=2).stream(tmp_path)
    batch = source.next_batch(100)
    assert batch.x.shape == (12, 0)
    names = [batch.schema.label_names[label] for label in batch.y.indices]
    assert all(
        payload.decode().split()[:2] == ["train", name] for payload, name in zip(batch.payload, names, strict=True)
    )
    assert len(read_folder(tmp_path / "train").batch) == 12


def test_sparse_rows_stay_sparse():
    x = Rows.from_dense(np.eye(6), values=True)
    source = SiBlurry(sessions=2).stream((x, np.arange(6)))
    batch = source.next_batch(6)
    assert batch.is_sparse
    assert (batch.x.to_dense(6).argmax(1) == source.arrangement.indices).all()


# URLs.


def test_a_url_names_data_and_scenario(tmp_path):
    path = tmp_path / "features.npz"
    np.savez(path, x=np.eye(6), y=[0, 1, 2, 0, 1, 2])
    source = open_siblurry(f"siblurry:{path}?n=100&sessions=3&seed=7&donation=head&varying=false&drop_remainder=true")
    assert source.scenario.settings == {
        "n": 100,
        "m": 10,
        "sessions": 3,
        "seed": 7,
        "donation": "head",
        "varying": False,
        "drop_remainder": True,
    }
    assert source.name == "features-siblurry-7"
    assert source.path == path
    assert len(read_all(source)) == 6
    assert open_siblurry(f"siblurry:{path}").n_events == 6
    assert open_siblurry("siblurry:synthetic:tree?events=50?seed=2").n_events == 50


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("siblurry:", "data must be named behind siblurry:, got none"),
        ("siblurry:yeast?season=1", r"parameter must be one of n, m, .*, got 'season'; did you mean sessions\?"),
        ("siblurry:yeast?n=1&n=2", "n must be given once, got it twice"),
        ("siblurry:yeast?sessions=1.5", "sessions must be a whole number, got '1.5'"),
        ("siblurry:yeast?n=many", "n must be a number, got 'many'"),
        ("siblurry:yeast?varying=no", "varying must be true or false, got 'no'"),
        ("siblurry:yeast?n=200", r"yeast\?n=200: n must be from 0 to 100, got 200"),
    ],
)
def test_a_wrong_url_is_refused(url, message):
    with pytest.raises(ValueError, match=message):
        open_siblurry(url)


# Drawing.


def test_a_drawing_shows_every_class_and_session():
    found = SiBlurry(seed=1).order(labels(20, 50))
    figure = found.draw("toy")
    (axes,) = figure.axes
    image = axes.images[0].get_array()
    assert image.shape[0] == 20
    uprights = sorted(line.get_xdata()[0] for line in axes.lines if line.get_xdata()[0] == line.get_xdata()[1])
    assert [end for end in found.ends[:-1] if end in uprights] == found.ends[:-1]
    # Disjoint classes above, each coloured where its events are and white elsewhere.
    shades = (np.asarray(image)[:10] < 1).any(2)
    first = shades.argmax(1) * len(found) / 240
    last = (240 - shades[:, ::-1].argmax(1)) * len(found) / 240
    homes = sorted(home for home, kind in zip(found.home, found.kind, strict=True) if kind == DISJOINT)
    starts, ends, bin_width = np.array([0, *found.ends]), np.array(found.ends), len(found) / 240
    assert (first >= starts[homes] - bin_width).all()
    assert (last <= ends[homes] + bin_width).all()
    assert len(SiBlurry(100, sessions=2).order([0, 1]).draw().axes) == 1


def test_events_are_kept_as_they_are():
    x, y = numbered()
    events = load_events((x, y))
    assert isinstance(events, LabelledEvents)
    before = events.batch.y.indices.copy()
    read_all(SiBlurry().stream(events))
    assert (events.batch.y.indices == before).all()
    assert events.batch.schema.label_names == sorted(set(y.tolist()))
