"""The frame of the benchmarks, with contestants that pretend."""

from __future__ import annotations

import itertools
import json
import re
import time

import pytest

from benchmarks import SUITES, __main__, frame, results, tables, targets
from benchmarks.frame import Cell, Clock, Contestant, PeerMissingError, measure
from benchmarks.page import page
from benchmarks.peers import Environment, run_process, until_line
from benchmarks.results import Journal, MixtureError
from benchmarks.targets import Below, Growth, Ratio


def costing(name, costs, quality=None, events=10):
    """A contestant that reports the given costs, one an attempt."""
    costs = itertools.cycle(costs)

    def attempt(clock):
        clock.report(next(costs), events)
        return quality or {}

    return Contestant(name, attempt)


def cell(*contestants, workload="fake_v1", **settings):
    return Cell("group", workload, lambda setting: contestants, **settings)


def side(record, name):
    return next(side for side in record["contestants"] if side["name"] == name)


# The clock and the order of attempts.


def test_contestants_take_turns_after_all_are_warm():
    told = []

    def contestant(name):
        def attempt(clock):
            told.append(name)
            clock.report(1.0, 1)
            return {}

        return Contestant(name, attempt, lambda: told.append(f"warm {name}"))

    measure(cell(contestant("a"), contestant("b")), quick=True)
    assert told == ["warm a", "warm b", "a", "b", "a", "b", "a", "b"]


def test_full_runs_repeat_five_times_and_quick_ones_three():
    one = cell(costing("a", [1.0]))
    assert len(side(measure(one), "a")["costs"]) == 5
    assert len(side(measure(one, quick=True), "a")["costs"]) == 3
    assert len(side(measure(cell(costing("a", [1.0]), repeats=1)), "a")["costs"]) == 1


class Time:
    """A clock on the wall that moves only when told."""

    def __init__(self):
        self.now = 0.0

    def pass_by(self, seconds):
        self.now += seconds


@pytest.fixture
def wall(monkeypatch):
    wall = Time()
    monkeypatch.setattr(frame, "perf_counter", lambda: wall.now)
    return wall


def test_only_what_happens_inside_the_clock_counts(wall):
    def attempt(clock):
        wall.pass_by(50)
        with clock:
            wall.pass_by(8)
            clock.count(2)
        wall.pass_by(5)
        with clock:
            wall.pass_by(4)
            clock.count(1)
        return {}

    found = side(measure(cell(Contestant("a", attempt)), quick=True), "a")
    assert (found["best"], found["events"]) == (4.0, 3)


def test_best_median_worst_and_spread():
    found = side(measure(cell(costing("a", [3.0, 2.0, 4.0])), quick=True), "a")
    assert (found["best"], found["median"], found["worst"], found["spread"]) == (2.0, 3.0, 4.0, 1.0)


def test_an_attempt_that_counts_nothing_fails():
    def attempt(clock):
        with clock:
            pass
        return {}

    record = measure(cell(Contestant("a", attempt)), quick=True)
    assert "an attempt must count its events or report a cost, got neither" in record["failures"][0]


def test_files_of_a_cell_are_gone_afterwards():
    folders = []

    def build(setting):
        (setting.folder / "events.arff").touch()
        folders.append(setting.folder)
        return [costing("a", [1.0])]

    measure(Cell("group", "fake_v1", build), quick=True)
    assert not folders[0].exists()


# Contestants that do not get there.


def slow(wall):
    def attempt(clock):
        with clock:
            for _ in range(1000):
                wall.pass_by(1)
                clock.count(1)
        return {}

    return attempt


def test_a_slow_contestant_is_stopped_at_its_event_and_the_others_go_on(wall):
    slow_one = Contestant("slow", slow(wall))
    record = measure(cell(slow_one, costing("fast", [1.0]), targets=[Ratio("fast", "slow", 2)]))
    stopped = side(record, "slow")
    assert (stopped["status"], stopped["events"]) == ("stopped", 301)
    assert stopped["reason"] == "stopped at event 301 after 300 s"
    assert "best" not in stopped
    assert len(side(record, "fast")["costs"]) == 5
    assert record["targets"][0]["verdict"] == "undecided"
    assert record["failures"] == []


def test_a_contestant_that_gets_warm_for_too_long_is_stopped():
    def warm():
        raise frame.StoppedError

    found = side(measure(cell(Contestant("a", lambda clock: {}, warm))), "a")
    assert (found["status"], found["reason"]) == ("stopped", "stopped while warming")


def test_attempts_that_were_finished_in_time_are_kept(wall):
    calls = itertools.count()

    def attempt(clock):
        if next(calls):
            return slow(wall)(clock)
        clock.report(1.0, 7)
        return {}

    found = side(measure(cell(Contestant("a", attempt)), limit_s=20), "a")
    assert (found["status"], found["costs"], found["events"]) == ("ok", [1.0], 7)


def test_a_missing_peer_is_recorded_with_its_reason_and_is_no_failure():
    def warm():
        raise PeerMissingError("no such package")

    peer = Contestant("peer", lambda clock: {}, warm)
    record = measure(cell(costing("ours", [1.0]), peer, targets=[Ratio("ours", "peer", 5)]), quick=True)
    assert side(record, "peer")["reason"] == "peer not available: no such package"
    assert record["failures"] == []
    assert record["targets"][0]["verdict"] == "undecided"
    assert "peer not available: no such package" in tables.common_tables({"cells": [record]})["group"]


def test_a_contestant_that_raises_is_a_failure():
    def attempt(clock):
        raise ZeroDivisionError("oh")

    record = measure(cell(Contestant("a", attempt), costing("b", [1.0])), quick=True)
    assert "a: ZeroDivisionError: oh (test_frame.py:" in record["failures"][0]
    assert side(record, "b")["status"] == "ok"


def test_data_that_cannot_be_had_are_recorded_and_the_suite_goes_on():
    def build(setting):
        raise FileNotFoundError("no such set")

    record = measure(Cell("group", "fake_v1", build, targets=[Below("ours", 1.0)]))
    assert (record["absent"], record["failures"]) == ("data not available: no such set", [])
    assert record["targets"][0]["reason"] == "ours did not take part"
    assert "data not available: no such set" in tables.common_tables({"cells": [record]})["group"]
    assert "data not available: no such set" in __main__.told(record).plain


def test_a_workload_that_cannot_be_built_is_a_failure():
    def build(setting):
        raise ValueError("what a mess")

    record = measure(Cell("group", "fake_v1", build, agreement=1e-9))
    assert "building failed: ValueError: what a mess (test_frame.py:" in record["failures"][0]
    assert "what a mess" in tables.common_tables({"cells": [record]})["group"]


# Quality.


def test_a_vanished_metric_is_a_failure():
    record = measure(cell(costing("a", [1.0], {"recall": 0.5}), metrics=["micro_f1"]), quick=True)
    assert "every attempt must report micro_f1, got {'recall': 0.5}" in record["failures"][0]


def test_a_quality_that_is_no_number_has_vanished():
    record = measure(cell(costing("a", [1.0], {"micro_f1": float("nan")}), metrics=["micro_f1"]), quick=True)
    assert "every attempt must report micro_f1, got {'micro_f1': nan}" in record["failures"][0]


def test_quality_that_changes_between_repeats_is_a_failure():
    drawn = itertools.count()

    def attempt(clock):
        clock.report(1.0, 1)
        return {"micro_f1": next(drawn) / 10}

    record = measure(cell(Contestant("a", attempt)), quick=True)
    assert "micro_f1 must not differ between repeats, got 0.0, then 0.1" in record["failures"][0]


@pytest.mark.parametrize(("other", "failures"), [(0.5 + 1e-10, 0), (0.5 + 1e-8, 1), (float("nan"), 1)])
def test_contestants_must_agree_where_the_cell_says_so(other, failures):
    one, two = costing("a", [1.0], {"f1": 0.5}), costing("b", [1.0], {"f1": other})
    record = measure(cell(one, two, agreement=1e-9), quick=True)
    assert len(record["failures"]) == failures
    if failures and other == other:
        assert "f1 must agree to within 1e-09, got 0.5 (a), 0.50000001 (b)" in record["failures"][0]


# When a ratio is stated.


def judged(target, ours, peer):
    return measure(cell(costing("ours", ours), costing("peer", peer), targets=[target]), quick=True)["targets"][0]


def test_a_ratio_larger_than_both_spreads_is_stated():
    found = judged(Ratio("ours", "peer", at_least=2), [1.0, 1.1, 1.2], [3.0, 3.1, 3.2])
    assert (found["found"], found["verdict"]) == (3.0, "reached")


def test_a_ratio_in_the_peers_favour_is_stated_too():
    found = judged(Ratio("ours", "peer", at_least=2), [3.0, 3.1, 3.2], [1.0, 1.1, 1.2])
    assert (found["found"], found["verdict"]) == (pytest.approx(1 / 3), "missed")


UNSTEADY = [([1.0, 1.5, 3.5], [3.0, 3.0, 3.0]), ([1.0, 1.0, 1.0], [3.0, 4.0, 9.5]), ([3.0, 9.5, 3.0], [1.0, 1.0, 1.0])]
NO_RATIO = "no ratio to ours: the spread is larger than the difference"


@pytest.mark.parametrize(("ours", "peer"), UNSTEADY)
def test_no_ratio_where_the_spread_exceeds_it(ours, peer):
    found = judged(Ratio("ours", "peer"), ours, peer)
    assert "found" not in found
    assert found["verdict"] == "undecided"
    assert tables.verdict(found, "events/s") == NO_RATIO


@pytest.mark.parametrize(
    ("at_least", "ending"), [(0.85, "reached"), (2, "undecided"), (3, "undecided"), (3.1, "missed")]
)
def test_where_no_ratio_is_stated_every_round_must_agree(at_least, ending):
    """Ratios of the rounds: 3, 2 and 0.857."""
    found = judged(Ratio("ours", "peer", at_least), *UNSTEADY[0])
    assert "found" not in found
    assert found["verdict"] == ending
    rounds = {"reached": "every", "missed": "no"}
    because = f", but at least {at_least:g} x in {rounds[ending]} round" if ending in rounds else ""
    assert tables.verdict(found, "events/s") == NO_RATIO + because


def test_rounds_are_compared_in_pairs():
    """Both slow down together: in each round ours takes 1.5 times as long, though its worst is 3 times the best."""
    ours, peer = [1.5, 3.0, 3.0], [1.0, 2.0, 2.0]
    assert judged(Ratio("ours", "peer", 0.5), ours, peer)["verdict"] == "reached"
    assert judged(Ratio("ours", "peer", 0.7), ours, peer)["verdict"] == "missed"
    assert judged(Ratio("ours", "peer", 0.5), ours, peer[::-1])["verdict"] == "undecided"


def test_growth_and_limits_compare_bests():
    assert judged(Growth("ours", "peer", 1.1), [1.0, 1.3, 1.3], [1.05, 1.2, 1.2])["verdict"] == "reached"
    assert judged(Growth("ours", "peer", 1.1), [1.0, 1.0, 1.0], [1.2, 1.2, 1.2])["verdict"] == "missed"
    assert judged(Below("ours", 0.5), [0.4, 0.6, 0.6], [1.0])["verdict"] == "reached"
    assert judged(Below("ours", 0.5), [0.5, 0.6, 0.6], [1.0])["verdict"] == "missed"


def test_a_target_whose_contestant_is_not_there_is_undecided():
    assert judged(Ratio("ours", "nobody"), [1.0], [1.0])["reason"] == "nobody did not take part"


# Journal and files.

HEAD = {"suite": "fake", "quick": True, "machine": {"cpu": "x", "cores": 2}, "versions": {"numpy": "2"}, "code": "abc"}


@pytest.fixture
def suite(monkeypatch):
    """A suite of three cells that count how often each was measured; the second can be made to break off the run."""

    class Suite:
        """A fake suite."""

        measured = ()
        breaks = False

        @classmethod
        def cells(cls):
            def contestant(name):
                def attempt(clock):
                    if name == "b" and cls.breaks:
                        raise KeyboardInterrupt
                    cls.measured.append(name)
                    clock.report(1.0, 5)
                    return {"micro_f1": 0.5}

                return Contestant("ours", attempt)

            return [
                Cell("group", name, lambda setting, name=name: [contestant(name)], metrics=["micro_f1"], repeats=1)
                for name in "abc"
            ]

    Suite.measured = []
    monkeypatch.setitem(SUITES, "fake", "fake")
    real = __main__.import_module
    monkeypatch.setattr(__main__, "import_module", lambda name: Suite if name == "fake" else real(name))
    return Suite


def test_a_run_that_was_stopped_goes_on_and_repeats_no_finished_cell(suite, tmp_path, capsys):
    command = ["fake", "--quick", "--out", str(tmp_path)]
    suite.breaks = True
    assert __main__.main(command) == 130
    assert suite.measured == ["a"]
    with (tmp_path / "fake.jsonl").open("a") as journal:
        journal.write('{"cell": "group/b", "contes')
    suite.breaks = False
    assert __main__.main(command) == 0
    assert suite.measured == ["a", "b", "c"]
    assert [found["cell"] for found in results.load(tmp_path / "fake.json")["cells"]] == [
        "group/a",
        "group/b",
        "group/c",
    ]
    assert __main__.main(command) == 0
    assert suite.measured == ["a", "b", "c"]
    assert __main__.main([*command, "--fresh"]) == 0
    assert suite.measured == ["a", "b", "c"] * 2


def test_one_cell_can_be_run_alone(suite, tmp_path, capsys):
    assert __main__.main(["fake", "--quick", "--out", str(tmp_path), "--only", "/c"]) == 0
    assert suite.measured == ["c"]
    assert __main__.main(["fake", "--quick", "--out", str(tmp_path), "--only", "nothing"]) == 2
    assert "--only must be part of a cell's name, got 'nothing'" in capsys.readouterr().err


def test_a_failed_cell_fails_the_command(suite, tmp_path, capsys, monkeypatch):
    real = suite.cells
    broken = Cell("group", "d", lambda setting: [costing("ours", [1.0])], metrics=["micro_f1"])
    monkeypatch.setattr(suite, "cells", lambda: [*real(), broken])
    assert __main__.main(["fake", "--quick", "--out", str(tmp_path)]) == 1
    assert "FAILED group/d: ours: ValueError: every attempt must report micro_f1" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["quick", "machine", "versions", "code"])
def test_figures_of_two_kinds_are_never_in_one_file(tmp_path, key):
    path = tmp_path / "fake.jsonl"
    Journal(path, HEAD).add({"cell": "group/a"})
    assert list(Journal(path, HEAD).cells) == ["group/a"]
    with pytest.raises(MixtureError, match=f"{key} must be that of the cells already there, .* use --fresh"):
        Journal(path, {**HEAD, key: "other"})
    assert not Journal(path, {**HEAD, key: "other"}, fresh=True).cells


def test_a_result_file_has_the_order_of_the_suite_and_one_layout(tmp_path):
    texts = []
    for order in ("ab", "ba"):
        journal = Journal(tmp_path / f"{order}.jsonl", HEAD)
        for name in order:
            journal.add(measure(cell(costing("ours", [1 / 3]), workload=name), quick=True))
        results.save(results.to_result(journal, ["group/a", "group/b"]), tmp_path / "result.json")
        texts.append((tmp_path / "result.json").read_bytes())
    assert texts[0] == texts[1]
    content = json.loads(texts[0])
    assert content["machine"] == HEAD["machine"]
    assert content["versions"] == HEAD["versions"]
    assert b"0.3333333333," in texts[0]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "other.json").write_text('{"format": "ihomer-result", "version": 1}')
    with pytest.raises(ValueError, match="must be 'ihomer-benchmark' version 1, got 'ihomer-result' version 1"):
        results.load(tmp_path / "other.json")


# Two result files.


def result_of(**settings):
    contestant = costing(
        "ours", settings.pop("costs", [1.0]), settings.pop("quality", {"f1": 0.5, "hamming_loss": 0.2})
    )
    return {"cells": [measure(cell(contestant, targets=[Below("ours", 2.0)], **settings), quick=True)]}


@pytest.mark.parametrize(
    ("new", "found"),
    [
        ({"cells": []}, "group/fake_v1: the cell has vanished"),
        (result_of(quality={"f1": 0.5}), "group/fake_v1: ours: hamming_loss has vanished"),
        (result_of(quality={"f1": 0.4, "hamming_loss": 0.2}), "group/fake_v1: ours: f1 was 0.5, now 0.4"),
        (result_of(quality={"f1": 0.5, "hamming_loss": 0.3}), "group/fake_v1: ours: hamming_loss was 0.2, now 0.3"),
        (result_of(costs=[3.0]), "group/fake_v1: the target ours, below 2 is no longer reached"),
        (result_of(metrics=["recall"]), "group/fake_v1: ours was ok, now ValueError: every attempt must report recall"),
    ],
)
def test_what_got_worse_is_said(new, found):
    assert results.worse_than(result_of(), new)[0].startswith(found)


def test_nothing_is_said_of_what_stayed_or_got_better():
    better = result_of(quality={"f1": 0.6, "hamming_loss": 0.1})
    assert results.worse_than(result_of(), better) == []
    assert results.worse_than(better, result_of(), tolerance=0.11) == []


def test_the_command_compares_with_an_older_result(suite, tmp_path, capsys, monkeypatch):
    command = ["fake", "--quick", "--out", str(tmp_path)]
    assert __main__.main(command) == 0
    older = tmp_path / "older.json"
    (tmp_path / "fake.json").rename(older)
    assert __main__.main([*command, "--compare", str(older)]) == 0
    assert __main__.main(["fake", "--out", str(tmp_path / "full"), "--compare", str(older)]) == 2
    assert "quick must be False as in this run, got True" in " ".join(capsys.readouterr().err.split())
    two = suite.cells()[:2]
    monkeypatch.setattr(suite, "cells", lambda: two)
    assert __main__.main([*command, "--compare", str(older)]) == 1
    assert "FAILED group/c: the cell has vanished" in capsys.readouterr().err
    assert __main__.main([*command, "--compare", str(older), "--only", "/a"]) == 0


# Tables and pages.


def test_the_fastest_contestant_stands_first_whoever_it_is():
    record = measure(
        cell(costing("ours", [2e-3]), costing("peer", [1e-3]), targets=[Ratio("ours", "peer")]), quick=True
    )
    lines = tables.common_tables({"cells": [record]})["group"].splitlines()
    assert lines[2] == "| `fake_v1` | peer | 10 | 1,000 | 0 % | ours is 0.5 x this |"
    assert lines[3].startswith("|  | ours | 10 | 500 |")


def test_a_reason_does_not_break_a_table():
    made = tables.table(["a", "b"], [["x | y\nz", "1"]], texts=["a"])
    assert made.splitlines() == ["| a | b |", "| --- | --: |", "| x \\| y z | 1 |"]


def test_pages_are_filled_at_their_marks_and_nowhere_else():
    page = "# Speed\n<!-- benchmark speed/linear -->\nold\n<!-- /benchmark -->\nrest\n"
    filled = tables.included(page, lambda suite: {"linear": f"table of {suite}"})
    assert filled == "# Speed\n<!-- benchmark speed/linear -->\n\ntable of speed\n\n<!-- /benchmark -->\nrest\n"
    assert tables.included(filled, lambda suite: {"linear": f"table of {suite}"}) == filled
    with pytest.raises(ValueError, match=r"benchmark speed/linear must be among the tables \['metrics'\]"):
        tables.included(page, lambda suite: {"metrics": ""})


def test_the_command_fills_a_page(suite, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- benchmark fake/group -->\n<!-- /benchmark -->\n<!-- benchmark fake/provenance -->\n<!-- /benchmark -->"
    )
    command = ["--markdown", str(page), "--out", str(tmp_path)]
    assert __main__.main(command) == 2
    assert __main__.main(["fake", "--quick", "--out", str(tmp_path)]) == 0
    assert __main__.main(command) == 0
    assert "| `a` | ours | 5 | 1 | 0 % | 0.5 |  |" in page.read_text()
    assert "A quick run" in page.read_text()


def test_a_page_for_a_browser_needs_no_other_file(suite, tmp_path):
    assert __main__.main(["fake", "--quick", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "fake.html").read_text()
    assert "python -m benchmarks fake --quick" in text
    assert "<td>ours</td>" in text
    assert "<strong>A quick run: a look, not a figure to state.</strong>" in text
    assert not re.findall(r"(?:src|href)=\"(?!#)", text)


def test_what_stands_in_a_table_stays_text_and_pictures_stand_in_the_page():
    drawn = {"p": '<?xml version="1.0"?>\n<svg><text>a</text></svg>'}
    made = {"t": tables.table(["a<b>"], [["**x**"]], texts=["a<b>"])}
    text = page("s", "About <it>.", "Code: `c`.", made, drawn, quick=False)
    for part in ("About &lt;it&gt;.", "<th>a&lt;b&gt;</th>", "<td><strong>x</strong></td>", "<svg><text>a</text>"):
        assert part in text
    assert "<?xml" not in text
    assert "<pre>python -m benchmarks s</pre>" in text


def test_suites_are_listed(capsys):
    assert __main__.main(["--list", "--names"]) == 0
    assert capsys.readouterr().out.split() == sorted(SUITES)


# Peers.


def test_a_peer_that_cannot_be_installed_is_missing_with_its_reason(tmp_path):
    environment = Environment("nothing", ["./no-such-file==1.0"], cache=tmp_path)
    with pytest.raises(PeerMissingError, match="no-such-file"):
        environment.python()
    assert not (environment.folder / "complete").exists()


def test_a_process_reports_its_last_line_and_its_failure(tmp_path):
    program = tmp_path / "program.sh"
    program.write_text("echo noise; echo '{\"seconds\": 2.5}'")
    assert run_process(["sh", str(program)], Clock(60)) == {"seconds": 2.5}
    program.write_text("echo broken >&2; exit 3")
    with pytest.raises(RuntimeError, match=r"program.sh must end well, got status 3: \['broken'\]"):
        run_process(["sh", str(program)], Clock(60))


def test_a_process_is_killed_when_the_time_is_up():
    began = time.perf_counter()
    with pytest.raises(frame.StoppedError):
        run_process(["sleep", "60"], Clock(0.1))
    assert time.perf_counter() - began < 5


def test_a_process_without_its_line_is_killed_when_the_time_is_up():
    with pytest.raises(frame.StoppedError):
        until_line(["sleep", "60"], "answered", Clock(0.1))


def test_a_process_is_timed_until_its_line():
    assert until_line(["sh", "-c", "echo warm; echo answered; sleep 1"], "answered", Clock(60)) < 0.9
    with pytest.raises(RuntimeError, match="the program must print 'answered', got the end of its output"):
        until_line(["sh", "-c", "echo no >&2"], "answered", Clock(60))


def test_the_rule_for_ratios_is_symmetric():
    one, other = {"best": 1.0, "worst": 1.9}, {"best": 2.0, "worst": 3.0}
    assert targets.ratio_of(one, other) == (2.0, True)
    assert targets.ratio_of(other, one) == (0.5, True)
