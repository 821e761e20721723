"""The page: what it says, that it needs nothing from outside, and that it is the same every time."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from ihomer.evaluation.result import METRICS, SHOWN, SHOWN_SINGLE, Result, Run
from ihomer.report import render, tree
from tests.report.samples import LEARNERS, sample

VOID = {"meta", "input", "br", "hr", "link", "img", "path", "circle", "rect"}
EVIL = "<script>alert(\"{}\")</script> & 'x' 日本 {% raw %}"


class Page(HTMLParser):
    """Elements of a page in order, with their attributes and texts; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {[self.elements[number][0] for number in self._open]}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self.elements[self._open[-1]][0] == tag, f"{tag} closes {self.elements[self._open[-1]][0]}"
        self._open.pop()

    def handle_data(self, data):
        for number in self._open:
            self.elements[number][2].append(data)

    def texts(self, tag: str, css: str | None = None) -> list[str]:
        return [
            " ".join("".join(text).split())
            for name, attributes, text in self.elements
            if name == tag and (css is None or css in (attributes.get("class") or "").split())
        ]


def table(page: Page, label: str) -> list[list[tuple[str, bool]]]:
    """Rows of the table in the box of this label: the text of each cell, and whether it is marked as best."""
    rows: list[list[tuple[str, bool]]] = []
    inside = False
    for tag, attributes, text in page.elements:
        if attributes.get("role") == "region":
            inside = attributes["aria-label"] == label
        if inside and tag == "tr":
            rows.append([])
        if inside and tag in ("td", "th"):
            rows[-1].append((" ".join("".join(text).split()), "best" in (attributes.get("class") or "").split()))
    return rows


@pytest.fixture(scope="module")
def many() -> tuple[Result, Page, str]:
    result = sample(5, LEARNERS, n_labels=60)
    text = render(result)
    return result, Page(text), text


def test_every_number_of_every_run_is_there():
    result = sample()
    page = Page(render(result))
    rows = table(page, "Summary of yeast")
    assert [cell[0] for cell in rows[0]] == [
        "learner",
        *(f"{METRICS[key].title} {'↓' if key == 'hamming_loss' else '↑'}" for key in SHOWN),
        "events/s ↑",
        "model bytes ↓",
    ]
    for run, row in zip(result.runs, rows[1:], strict=True):
        expected = [f"{run.metrics[key]:.4f}" for key in SHOWN]
        expected += [f"{run.time['events_per_s']:,.0f}", f"{run.model_bytes:,}"]
        assert [cell[0] for cell in row] == [run.learner_name, *expected]
    every = {row[0][0].rstrip(" ↑↓"): [cell[0] for cell in row[1:]] for row in table(page, "All metrics of yeast")[1:]}
    for key, metric in METRICS.items():
        if key in SHOWN_SINGLE:
            assert metric.title not in every
            continue
        assert every[metric.title] == [f"{run.metrics[key]:.4f}{run.window[key]:.4f}" for run in result.runs]
    counts = {row[0][0]: [cell[0] for cell in row[1:]] for row in table(page, "Counts and cost of yeast")[1:]}
    assert counts["events read"] == ["2,417"] * 4
    assert counts["events dead"] == ["2"] * 4


def test_the_best_of_each_column_is_marked_and_nothing_else():
    result = Result(
        [
            Run({"name": "toy"}, {"name": name}, {"micro_f1": f1, "hamming_loss": loss}, baseline=name == "no-change")
            for name, f1, loss in (("a", 0.5, 0.2), ("b", 0.7, 0.3), ("no-change", 0.2, 0.1))
        ]
    )
    rows = table(Page(render(result)), "Summary of toy")
    assert [[cell[1] for cell in row] for row in rows] == [
        [False] * 5,
        [False, False, False, False, False],
        [False, True, False, False, False],
        [False, False, True, False, False],
    ]


def test_a_page_of_one_stream_is_named_after_it_and_has_no_overview():
    page = Page(render(sample()))
    assert page.texts("h1") == ["yeast"]
    assert page.texts("h2") == ["yeast", "How to read it"]
    assert not page.texts("nav")


def test_headings_go_down_one_level_at_a_time(many):
    for page in (many[1], Page(render(sample()))):
        levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))


def test_many_streams_have_an_overview_contents_and_folded_sections(many):
    result, page, _ = many
    assert page.texts("h1") == ["5 streams"]
    links = [attributes["href"] for tag, attributes, _ in page.elements if tag == "a"]
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert len(links) == 5 * (1 + len(SHOWN))
    assert len(ids) == len(set(ids))
    assert sum(tag == "details" and attributes.get("class") == "fold" for tag, attributes, _ in page.elements) == 5
    frame = result.to_frame()
    means = frame.groupby("learner")["micro_f1"].mean()
    ranks = frame.assign(rank=frame.groupby("data")["micro_f1"].rank(ascending=False)).groupby("learner")["rank"].mean()
    losses = frame.groupby("learner")["hamming_loss"].mean()
    loss_ranks = frame.assign(rank=frame.groupby("data")["hamming_loss"].rank()).groupby("learner")["rank"].mean()
    rows = table(page, "Means and average ranks")[1:]
    assert [row[0][0] for row in rows] == [*LEARNERS, "no-change", "majority"]
    for row in rows:
        name = row[0][0]
        assert row[1] == (f"{means[name]:.4f}", bool(means[name] == means.max()))
        assert row[2][0] == f"{ranks[name]:.2f}"
        assert row[9] == (f"{losses[name]:.4f}", bool(losses[name] == losses.min()))
        assert row[10][0] == f"{loss_ranks[name]:.2f}"


@pytest.mark.slow
def test_sixteen_streams_stay_below_three_megabytes():
    assert len(render(sample(16, LEARNERS, n_labels=120, n_points=400, n_events=20_000)).encode()) < 3_000_000


def test_means_are_over_the_streams_that_every_learner_has():
    result = sample(3)
    result.runs = [run for run in result.runs if (run.data["name"], run.learner_name) != ("birds", "linear")]
    page = Page(render(result))
    assert "Mean over the 2 of 3 streams on which every learner has a number" in " ".join(page.texts("p"))
    rows = {row[0][0]: row for row in table(page, "Means and average ranks")[1:]}
    scores = [run.metrics["micro_f1"] for run in result.runs if run.learner_name == "linear"]
    assert rows["linear"][1][0] == f"{sum(scores) / 2:.4f}"
    assert [row[2][0] for row in table(page, "micro-F1 by stream")][1:] == [*(f"{score:.4f}" for score in scores), "–"]


def test_learners_without_a_stream_in_common_get_no_mean():
    runs = [Run({"name": data}, {"name": name}, {"micro_f1": 0.5}) for data, name in (("x", "a"), ("y", "b"))]
    assert [cell[0] for cell in table(Page(render(Result(runs))), "Means and average ranks")[1]] == ["a", "–", "–"]


def test_equals_share_a_rank():
    runs = [
        Run({"name": data}, {"name": name}, {"micro_f1": score})
        for data in ("x", "y")
        for name, score in (("a", 0.5), ("b", 0.50001), ("c", 0.4))
    ]
    rows = table(Page(render(Result(runs))), "Means and average ranks")[1:]
    assert [row[2][0] for row in rows] == ["1.50", "1.50", "3.00"]


def test_the_page_loads_nothing(many):
    for text in (many[2], render(sample())):
        page = Page(text)
        assert {tag for tag, _, _ in page.elements}.isdisjoint(
            {"link", "img", "iframe", "object", "embed", "base", "use"}
        )
        for _, attributes, _ in page.elements:
            assert not {"src", "srcset", "xlink:href", "action", "style-src"} & set(attributes)
            assert (attributes.get("href") or "#").startswith("#")
        assert not re.search(r"https?:|url\(|@import|fetch\(|import\(|XMLHttpRequest", text)


def test_the_same_result_gives_the_same_page_saved_or_not(tmp_path):
    sample().save_all(tmp_path, report=False)
    assert render(Result.load(tmp_path / "result.json")) == render(sample())


def test_names_are_escaped_everywhere():
    result = sample(2, label=EVIL)
    for number, run in enumerate(result.runs):
        run.data["name"] += EVIL
        run.data["order"] = EVIL
        run.learner["name"] += EVIL.replace("{}", str(number % 4))
        run.learner["params"] = {EVIL: EVIL}
    result.started = result.command = EVIL
    result.machine["cpu"] = result.versions["ihomer"] = EVIL
    text = render(result)
    page = Page(text)
    assert sum(tag == "script" for tag, _, _ in page.elements) == 1
    assert "alert(&#34;" in text
    assert 'alert("' not in text
    label = EVIL.replace("{}", "13")
    rows = table(page, f"F1 of each label of {result.stream_titles()[result.runs[0].stream]}")
    assert label in [row[0][0] for row in rows]
    clusters = tree.clusters(result.runs[0].hierarchy or {})
    assert f"{', '.join(clusters[-1])} ({len(clusters[-1])})" in page.texts("li")
    assert any(drawn.startswith(clusters[0][0]) for drawn in page.texts("text"))


def test_lone_surrogates_do_not_keep_the_page_from_being_written(tmp_path):
    result = sample(label="\ud800{}")
    assert b"&#55296;13" in result.report(tmp_path / "report.html").read_bytes()


def test_curves_are_drawn_for_every_metric_with_a_description():
    result = sample()
    page = Page(render(result))
    panels = [
        attributes["aria-label"]
        for tag, attributes, _ in page.elements
        if tag == "svg" and attributes.get("viewbox") == "0 0 380 232"
    ]
    assert len(panels) == len(SHOWN)
    for key, description in zip(SHOWN, panels, strict=True):
        assert description is not None
        assert description.startswith(f"{METRICS[key].title} over the stream.")
        for run in result.runs:
            assert f"{run.learner_name} {run.metrics[key]:.3f}" in description
    classes = [attributes.get("class") for tag, attributes, _ in page.elements if tag == "path"]
    for style in ("s0 d0", "s1 d0", "b0", "b1"):
        for kind in ("cumulative", "window", "drift"):
            assert classes.count(f"{kind} {style}") == len(SHOWN)
    assert classes.count("restructure s0 d0") == len(SHOWN)
    assert classes.count("restructure s1 d0") == 0


def test_lines_stay_within_their_panel(many):
    for path in re.findall(r'<path class="(?:cumulative|window|drift|restructure) [^"]*" d="([^"]+)"/>', many[2]):
        points = [tuple(map(float, point.split())) for point in re.findall(r"[ML]([^ML]+)", path)]
        assert all(37.9 <= x <= 364.1 and 9.9 <= y <= 208.1 for x, y in points)


def test_a_learner_has_one_colour_in_the_whole_page(many):
    styles: dict[str, set[str]] = {}
    for label, style in re.findall(r'value="([sb]\d[^"]*)" checked>.*?</svg><span>([^<]+)</span>', many[2]):
        styles.setdefault(style, set()).add(label)
    assert styles == {
        **{name: {f"s{number} d0"} for number, name in enumerate(LEARNERS)},
        "no-change": {"b0"},
        "majority": {"b1"},
    }


def test_no_curve_no_panel():
    result = sample()
    for run in result.runs:
        run.curve = []
    assert "Over the stream" not in render(result)


def test_labels_are_sorted_by_support_with_a_bar_a_learner():
    result = sample()
    rows = table(Page(render(result)), "F1 of each label of yeast")[1:]
    support = [int(row[1][0].replace(",", "")) for row in rows]
    assert support == sorted(support, reverse=True)
    known = {entry["label"]: entry for entry in result.runs[1].per_label}
    for row in rows:
        assert row[3][0] == f"{known[row[0][0]]['f1']:.3f}"
    assert 'style="--f1:' in render(result)


def test_of_hundreds_of_labels_both_ends_are_shown_and_all_are_folded():
    result = sample(n_labels=374)
    page = Page(render(result))
    rows = table(page, "F1 of each label of yeast")[1:]
    assert [row[0][0] for row in rows if len(row) == 1] == ["334 labels between these"]
    assert len(rows) == 41
    assert len(table(page, "F1 of all labels of yeast")[1:]) == 374
    n_unseen = sum(entry["support"] == 0 for entry in result.runs[0].per_label)
    assert n_unseen > 0
    assert f"the 20 most frequent and the 20 rarest of 374 labels. {n_unseen} never occurred." in " ".join(
        page.texts("p")
    )


def test_labels_of_unlike_types_stay_apart():
    one = Run(
        {"name": "toy"}, {"name": "a"}, {}, per_label=[{"label": name, "f1": 0.5} for name in (1, "1", True, 1.0)]
    )
    rows = table(Page(render(Result([one]))), "F1 of each label of toy")[1:]
    assert [row[0][0] for row in rows] == ["1", "1", "True", "1.0"]


def test_the_hierarchy_is_drawn_and_listed():
    result = sample()
    page = Page(render(result))
    assert result.runs[0].hierarchy is not None
    clusters = tree.clusters(result.runs[0].hierarchy)
    assert sorted(name for names in clusters for name in names) == sorted(f"label {number}" for number in range(14))
    drawn = page.texts("text")
    for names in clusters:
        assert ", ".join(names) in drawn
        assert f"{', '.join(names)} ({len(names)})" in page.texts("li")
    assert "Label hierarchy of ihomer" in page.texts("h3")
    assert "Label hierarchy of linear" not in page.texts("h3")


def test_a_large_tree_is_drawn_with_folded_branches_that_lose_no_label():
    hierarchy = sample(n_labels=374).runs[0].hierarchy
    assert hierarchy is not None
    drawing = tree.layout(hierarchy)
    assert drawing.n_clusters > tree.MOST_ROWS >= drawing.n_rows
    rows = [node for node in drawing.nodes if node.text]
    assert len(rows) == drawing.n_rows
    assert len({node.y for node in rows}) == len(rows)
    counted = sum(int(re.search(r", (\d+) labels?", node.title).group(1)) for node in rows)  # type: ignore[union-attr]
    assert counted == 374
    assert {(x, y) for x, y, _, _ in drawing.edges} | {(x, y) for _, _, x, y in drawing.edges} == {
        (node.x, node.y) for node in drawing.nodes
    }


def test_a_tree_of_one_cluster_and_a_deep_one_are_drawn():
    leaf = {"id": 0, "labels": ["a", "b"], "children": []}
    assert [node.text for node in tree.layout(leaf).nodes] == ["a, b"]
    deep = leaf
    for number in range(1, 2000):
        side = {"id": -number, "labels": [f"x{number}"], "children": []}
        deep = {"id": number, "labels": [*deep["labels"], f"x{number}"], "children": [deep, side]}  # type: ignore[misc]
    assert tree.layout(deep).n_rows == tree.MOST_ROWS
    assert len(tree.clusters(deep)) == 2000


def test_what_happened_is_told_and_tabled():
    result = sample()
    page = Page(render(result))
    drifts = [drift["event"] for drift in result.runs[1].drifts]
    places = ", ".join(f"{event:,}" for event in drifts)
    assert f"linear: 3 drifts of its loss, at event {places}." in page.texts("li")
    assert any("6 structural changes: 4 split, 2 merge." in text for text in page.texts("li"))
    rows = table(page, "Drifts and structural changes of yeast")[1:]
    assert len(rows) == sum(len(run.drifts) + len(run.restructures) for run in result.runs)
    events = [int(row[0][0].replace(",", "")) for row in rows]
    assert events == sorted(events)
    details = {row[2][0]: row[3][0] for row in rows}
    assert details["drift of loss"] == "detector ADWIN; before 0.4; after 0.5"
    assert "labels [label 0, label 1, label 2, label 3, label 4]; diameter 0.87; bound 0.0421" in details["split"]


def test_of_thousands_of_structural_events_the_first_are_shown():
    result = sample()
    result.runs[0].restructures = [{"event": event, "kind": "split"} for event in range(5000)]
    page = Page(render(result))
    assert len(table(page, "Drifts and structural changes of yeast")[1:]) == 200
    assert "The first 200; the others are in the result file." in page.texts("p")


def test_an_interrupted_run_says_so():
    text = render(sample(interrupted=True))
    page = Page(text)
    assert "Interrupted. The evaluation was stopped before the end of yeast" in " ".join(page.texts("p", "banner"))
    assert page.texts("span", "badge") == ["interrupted"] * 4
    assert any(
        "Interrupted after 2,414 scored events; its numbers hold for these." in text for text in page.texts("li")
    )
    assert "nterrupted" not in re.sub(r"<style>.*?</style>", "", render(sample()), flags=re.DOTALL)


def test_who_leads_is_said_against_the_best_baseline():
    def short(learner: float, *baselines: float) -> str:
        runs = [Run({"name": "toy"}, {"name": "a"}, {"micro_f1": learner})]
        runs += [
            Run({"name": "toy"}, {"name": f"b{number}"}, {"micro_f1": score}, baseline=True)
            for number, score in enumerate(baselines)
        ]
        return " ".join(Page(render(Result(runs))).texts("p"))

    assert "a reaches micro-F1 0.5000, 0.1000 above the best baseline, b1." in short(0.5, 0.3, 0.4)
    assert "a reaches micro-F1 0.3000, 0.1000 below the best baseline, b0." in short(0.3, 0.4)
    assert "a reaches micro-F1 0.3000, the same as the best baseline, b0." in short(0.3, 0.30001)
    assert "a reaches micro-F1 0.3000." in short(0.3)


def test_the_least_that_a_result_can_hold_makes_a_page():
    for runs in ([], [Run({}, {}, {})], [Run({"name": "x"}, {"name": "no-change"}, {}, baseline=True)]):
        assert Page(render(Result(list(runs)))).texts("h1")


def test_a_metric_of_a_later_release_is_shown_without_a_verdict():
    runs = [Run({"name": "toy"}, {"name": name}, {"a_later": score}) for name, score in (("a", 0.5), ("b", 0.25))]
    rows = table(Page(render(Result(runs))), "All metrics of toy")
    assert rows[1] == [("a_later", False), ("0.5000–", False), ("0.2500–", False)]
