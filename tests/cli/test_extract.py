"""Features extracted on the way, `ihomer run` and `evaluate` with an encoder, and beforehand, `ihomer extract`."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.main import get_command
from typer.testing import CliRunner

from ihomer.checkpoint import CheckpointStore
from ihomer.cli import app
from ihomer.encoders import build
from ihomer.extracting import at_work, told
from ihomer.plans import ExtractPlan
from ihomer.specs import SpecError
from streams.extraction.encoders.hashing import HashingEncoder
from streams.memory import read_all
from streams.opening import open_source
from tests.conftest import Command
from tests.streams.extraction import toys
from tests.streams.places import assert_same_batch

TOYS = "tests.streams.extraction.toys"
HASHED = ("--payload", "text", "--encoder", "hashing:dim=256,idf=true")
N = 3000


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts whose words tell their labels, with broken lines and unlabelled events among them."""
    rng = random.Random(5)
    words = [f"w{i}" for i in range(60)]
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for i in range(N):
            chosen = rng.sample(words, 8)
            event: dict[str, Any] = {"id": str(i), "x": {"text": " ".join(chosen), "n": i % 5}}
            if i % 11:
                event["y"] = sorted({f"l{int(word[1:]) % 7}" for word in chosen[:3]})
            file.write("{broken\n" if i % 97 == 5 else json.dumps(event) + "\n")
    return path


# On the way.


def test_a_run_is_the_same_by_any_number_of_workers(command: Command, stream: Path, tmp_path: Path) -> None:
    found = []
    for workers in ("0", "2"):
        words = ("--learner", "linear", "--sink", f"{workers}.jsonl", "--dead-letters", f"{workers}.dead", "--json")
        code, out, err = command("run", "--source", str(stream), *HASHED, *words, "--workers", workers, "--quiet")
        assert code == 0, err
        runs = json.loads(out)["runs"]
        for run in runs:
            del run["time"]
        found.append((runs, (tmp_path / f"{workers}.jsonl").read_bytes(), (tmp_path / f"{workers}.dead").read_bytes()))
    assert found[0] == found[1]
    runs = found[0][0]
    assert runs[0]["data"]["encoder"] == HashingEncoder(256, idf=True).fingerprint
    assert runs[0]["data"]["n_features"] == 257
    assert runs[0]["counts"]["dead"] == len(range(5, N, 97))
    assert runs[0]["metrics"]["micro_f1"] > runs[1]["metrics"]["micro_f1"] + 0.1


def run_words(stream: Path, folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "ihomer", "run", "--source", str(stream), *HASHED, "--workers", "1", "--quiet"),
        *("--learner", "linear", "--checkpoint", str(folder / "state"), "--checkpoint-every", "250", "--resume"),
        *("--predictions", str(folder / "predictions.jsonl"), "--dead-letters", str(folder / "dead.jsonl")),
        *("--result", str(folder / "result.json")),
    ]


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves, times excluded."""
    runs = json.loads((folder / "result.json").read_text())["runs"]
    for run in runs:
        del run["time"]
    found = CheckpointStore(folder / "state").latest()
    assert found is not None
    _, manifest, arrays = found
    return {
        "runs": runs,
        "position": manifest["source"]["position"],
        "counts": manifest["counts"],
        "state": {name: array.tobytes() for name, array in arrays.items() if not name.endswith("/log")},
        "predictions": (folder / "predictions.jsonl").read_bytes(),
        "dead": (folder / "dead.jsonl").read_bytes(),
    }


@pytest.mark.parametrize("n_kills", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_and_resumed_equals_one_that_was_not(stream: Path, tmp_path: Path, n_kills: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    subprocess.run(run_words(stream, whole), check=True)
    killed.mkdir()
    seed = random.randrange(10**6)
    print("seed", seed)
    moments = random.Random(seed)
    store = CheckpointStore(killed / "state")
    kills = 0
    for threshold in sorted(moments.sample(range(N // 250 - 2), n_kills)):
        process = subprocess.Popen(run_words(stream, killed))
        while process.poll() is None and not _reached(store, threshold * 250):
            time.sleep(0.002)
        time.sleep(moments.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 1, "the run was too quick to be killed"
    subprocess.run(run_words(stream, killed), check=True)
    assert outcome(killed) == outcome(whole)


def _reached(store: CheckpointStore, event: int) -> bool:
    names = sorted(path.name for path in store.directory.glob("checkpoint-*.ckpt"))
    return bool(names) and int(names[-1][len("checkpoint-") : -len(".ckpt")]) >= event


def test_a_run_goes_on_with_the_encoder_that_it_began_with(command: Command, stream: Path) -> None:
    words = ("run", "--source", str(stream), "--payload", "text", "--learner", "majority", "--checkpoint", "state")
    assert command(*words, "--encoder", "hashing:dim=16", "--max-events", "500", "--quiet")[0] == 0
    for other in (("--encoder", "hashing:dim=17"), ()):
        code, _, err = command(*words, *other, "--resume", "--quiet")
        assert code == 1
        assert "encoder must be those of the checkpoint, hashing-1:dim=16," in err


def test_a_payload_that_cannot_be_encoded_ends_an_evaluation_and_not_a_run(command: Command, tmp_path: Path) -> None:
    texts = ["a", "b", "", "c"]
    lines = [json.dumps({"payload": text, "y": ["l"]}) for text in texts]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    encoder = ("--encoder", f"{TOYS}:lengths", "--learner", "majority", "--quiet", "--json")
    code, out, _ = command("run", "--source", "t.jsonl", *encoder, "--dead-letters", "dead.jsonl")
    assert code == 0
    assert (
        json.loads(out)["runs"][0]["counts"] | {"read": 4, "dead": 1, "learned": 3}
        == json.loads(out)["runs"][0]["counts"]
    )
    letter = json.loads((tmp_path / "dead.jsonl").read_text())
    assert (letter["offset"], letter["reason"]) == (2, "IndexError: string index out of range")
    code, _, err = command("evaluate", "--data", "t.jsonl", *encoder)
    assert code == 1
    assert err == "ihomer: t:2: IndexError: string index out of range\n"


def test_an_evaluation_with_an_encoder(command: Command, stream: Path, tmp_path: Path) -> None:
    words = (
        "evaluate",
        "--data",
        str(stream),
        *HASHED,
        "--learner",
        "linear",
        "--max-events",
        "900",
        "--on-error",
        "skip",
    )
    more = ("--repeats", "2", "--workers", "1", "--out", "results")
    code, out, err = command(*words, *more, "--json")
    assert code == 0, err
    assert "extraction: 1," in err.replace("\n", " ")
    runs = json.loads(out)["runs"]
    assert [run["data"]["order"] for run in runs[::3]] == ["shuffled:0", "shuffled:1"]
    assert {run["data"]["encoder"] for run in runs} == {HashingEncoder(256, idf=True).fingerprint}
    assert "done before" in command(*words, *more, "--resume")[2]
    again = [word.replace("dim=256", "dim=128") for word in (*words, *more, "--resume")]
    assert "done before" not in command(*again)[2]


def test_partitions_of_a_topic_share_the_encoders(command: Command, stream: Path) -> None:
    assert (
        command(
            "produce", "--source", str(stream), "--sink", "log:events?partitions=2", "--quiet", "--max-events", "900"
        )[0]
        == 0
    )
    words = ("--source", "log:events", "--until-end", "--learner", "linear", "--quiet", "--json")
    found = []
    for workers in ("0", "1"):
        code, out, err = command("run", *words, *HASHED, "--workers", workers, "--checkpoint", f"state{workers}")
        assert code == 0, err
        runs = json.loads(out)["runs"]
        found.append([(run["data"], run["counts"], run["metrics"]) for run in runs])
    assert found[0] == found[1]
    assert found[0][0][1]["read"] == 900


def test_operators_see_how_workers_get_on(command: Command, tmp_path: Path) -> None:
    n = 900
    texts: list[Any] = [f"words w{i % 40} and more w{i % 7}" for i in range(n)]
    texts[31] = {"base64": "/w=="}
    events = [json.dumps({"id": str(i), "payload": text, "y": [f"l{i % 7}"]}) for i, text in enumerate(texts)]
    Path("events.jsonl").write_text("\n".join(events))
    words = ("--source", "events.jsonl", "--sink", "log:events?partitions=2", "--quiet")
    assert command("produce", *words)[0] == 0
    words = (sys.executable, "-m", "ihomer", "run", "--source", "log:events", "--learner", "linear")
    more = ("--encoder", "hashing:dim=64", "--workers", "2", "--metrics-port", "0", "--checkpoint", "state")
    with open("log", "wb") as log:
        process = subprocess.Popen([*words, *more], stderr=log, stdout=log, cwd=tmp_path)
    try:
        found, told = None, dict[tuple[str, ...], float]()
        deadline = time.monotonic() + 120
        while told.get(("ihomer_extraction_payloads_total",), 0) < n or told[("ihomer_events_read_total",)] != n:
            assert time.monotonic() < deadline, (told, Path("log").read_text())
            time.sleep(0.1)
            found = found or re.search(r"http://127\.0\.0\.1:\d+", Path("log").read_text())
            told = scraped(f"{found[0]}/metrics") if found else told
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = [child for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]
        os.kill(int(workers[0]), signal.SIGKILL)
        while not told[("ihomer_extraction_restarts_total",)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            assert found is not None
            told = scraped(f"{found[0]}/metrics")
    finally:
        process.kill()
        process.wait()
    of = {name: [told[name, str(worker)] for worker in range(2)] for name, *rest in told if rest == ["1"]}
    of = {name.removeprefix("ihomer_extraction_"): values for name, values in of.items() if "extraction" in name}
    assert sum(of["payloads_total"]) == n
    assert sum(of["blocks_total"]) == sum(of["latency_seconds_count"]) >= n / 32
    assert 1 <= max(of["block_size"]) <= 32
    assert sum(of["poisoned_payloads_total"]) == told[("ihomer_events_dead_total",)] == 1
    assert sum(of["restarts_total"]) == 1
    assert sum(of["timeouts_total"]) == 0
    assert 0 < sum(of["busy_share"]) == sum(of["device_share"]) < 1
    assert of["device_seconds_total"] == of["busy_seconds_total"]
    assert sum(of["latency_seconds_sum"]) > sum(of["busy_seconds_total"]) > 0
    assert told["ihomer_extraction_queue_blocks",] == told["ihomer_extraction_in_flight_blocks",] == 0


def scraped(url: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and worker, and their sums over workers and partitions by the name alone."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        page = answer.read().decode()
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if "le" not in sample.labels:
                found[(sample.name,)] = found.get((sample.name,), 0) + sample.value
            if "worker" in sample.labels:
                found[sample.name, sample.labels["worker"], *filter(None, [sample.labels.get("le")])] = sample.value
    return found


# Beforehand.


@pytest.mark.parametrize("file", ["features.npz", "features.parquet", "features.jsonl.gz"])
def test_a_dump_is_a_source_with_the_same_features(command: Command, stream: Path, file: str) -> None:
    words = ("--source", str(stream), *HASHED, "--on-error", "skip", "--dead-letters", "dead.jsonl", "--out", file)
    code, out, err = command("extract", *words, "--json", "--quiet", "--workers", "1")
    assert code == 0, err
    told = json.loads(out)
    n_dead = len(range(5, N, 97))
    assert (told["events"], told["dead"], told["out"]) == (N - n_dead, n_dead, file)
    assert told["extraction"]["payloads"] == N - n_dead
    beside = json.loads(Path(f"{file}.encoder.json").read_text())
    assert beside["fingerprint"] == HashingEncoder(256, idf=True).fingerprint
    assert beside["encoder"] == "hashing:dim=256,idf=true"
    assert not Path(f"{file}.parts").exists()
    assert len(Path("dead.jsonl").read_text().splitlines()) == n_dead
    scores = []
    for data in ((file,), (str(stream), *HASHED, "--on-error", "skip")):
        code, out, err = command("evaluate", "--learner", "linear", "--quiet", "--json", "--data", *data)
        assert code == 0, err
        scores.append(json.loads(out)["runs"][0]["metrics"])
    assert scores[0] == scores[1]


def extract_words(stream: Path, folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "ihomer", "extract", "--source", str(stream), "--payload", "text", "--quiet", "--json"),
        *("--encoder", f"{TOYS}:slow_lengths", "--on-error", "skip", "--resume", "--out", str(folder / "f.npz")),
        *("--dead-letters", str(folder / "dead.jsonl"), "--batch-size", "100"),
    ]


def test_a_dump_that_is_killed_or_stopped_and_resumed_equals_one_that_was_not(stream: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    many = tmp_path / "many.jsonl"
    many.write_text(stream.read_text() * 4)
    whole.mkdir()
    subprocess.run(extract_words(many, whole), check=True, stdout=subprocess.DEVNULL)
    broken.mkdir()
    for how in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(
            extract_words(many, broken), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        parts = broken / "f.npz.parts"
        n_before = len(list(parts.glob("*.npz"))) if parts.exists() else 0
        while process.poll() is None and len(list(parts.glob("*.npz"))) <= n_before:
            time.sleep(0.005)
        process.send_signal(how)
        _, told = process.communicate()
        assert process.returncode == (-how if how == signal.SIGKILL else 130)
        assert not (broken / "f.npz").exists()
    assert "To go on:\nihomer extract " in told
    done = subprocess.run(extract_words(many, broken), check=True, stdout=subprocess.PIPE)
    assert json.loads(done.stdout)["extraction"]["payloads"] < 4 * N * 0.8
    assert_same_batch(*(read_all(open_source(folder / "f.npz")) for folder in (whole, broken)))
    assert (whole / "dead.jsonl").read_bytes() == (broken / "dead.jsonl").read_bytes()
    told_of = [json.loads((folder / "f.npz.encoder.json").read_text()) for folder in (whole, broken)]
    assert told_of[0] == told_of[1]


def test_parts_of_another_encoder_are_refused_and_begun_anew_without_resume(command: Command, stream: Path) -> None:
    words = ("extract", "--source", str(stream), "--payload", "text", "--out", "f.npz", "--quiet", "--encoder")
    code, _, err = command(*words, "hashing:dim=8")
    assert code == 1  # a line is broken, and what came before it lies in parts
    assert "texts.jsonl:6:" in err
    Path("f.npz.parts").mkdir(exist_ok=True)
    state = {"version": 1, "source": "texts", "fingerprint": "another"}
    Path("f.npz.parts/state.json").write_text(json.dumps(state))
    code, _, err = command(*words, "hashing:dim=8", "--resume", "--on-error", "skip")
    assert code == 1
    assert "fingerprint must be that of the parts, 'another', got 'hashing-1:dim=8," in err
    assert command(*words, "hashing:dim=8", "--on-error", "skip", "--max-events", "50")[0] == 0
    assert len(read_all(open_source("f.npz"))) == 49


# What is said of wrong usage.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("run", "--source", "yeast", "--encoder", "hashing", "--encoder-timeout", "-1"),
            "--encoder-timeout: must be at least 0, got -1",
        ),
        (("run", "--source", "yeast", "--workers", "2"), "--workers: must be left out without an encoder, got 2"),
        (("run", "--source", "yeast", "--ray", "auto"), "--ray: must be left out without an encoder, got 'auto'"),
        (
            ("run", "--source", "yeast", "--encoder", "hashing", "--ray", "auto"),
            "--workers: must be at least 1 with ray, got 0",
        ),
        (
            ("run", "--source", "yeast", "--encoder", "hashing", "--workers", "1", "--gpus", "0.5"),
            "--gpus: must be left out without ray, got 0.5",
        ),
        (("extract", "--source", "yeast", "--out", "f.npz"), "--encoder: must be given"),
        (("extract", "--source", "yeast", "--encoder", "hashing"), "--out: must be given"),
        (("run", "--source", "yeast", "--encoder", "hashin"), "did you mean hashing?"),
        (("run", "--source", "yeast", "--encoder", "hashing:dims=3"), "did you mean dim?"),
        (("run", "--source", "yeast", "--encoder", "hashing:dim=0"), "dim must be at least 1, got 0"),
        (("run", "--source", "yeast", "--encoder", "onnx:"), "must be written as onnx:PATH, with what to load"),
        (
            ("run", "--source", "yeast", "--encoder", "onnx:no.onnx"),
            "path must be a file of ONNX, found none: 'no.onnx'",
        ),
        (("run", "--source", "yeast", "--encoder", "sentence:nowhere"), "a model must be a folder with config.json,"),
        (("run", "--source", "yeast", "--encoder", "transformers:."), "found no config.json in '.'"),
        (("run", "--source", "yeast", "--encoder", "no.such:thing"), "module no.such cannot be imported"),
        (("run", "--source", "yeast", "--encoder", f"{TOYS}:nothing"), f"module {TOYS} has no nothing"),
        (("run", "--source", "yeast", "--encoder", f"{TOYS}:WIDTH"), "encoder must be a function, or a class"),
        (("run", "--source", "yeast", "--encoder", f"{TOYS}:numbers(a=1)"), "encoder must be a function, or a class"),
    ],
)
def test_wrong_usage(command: Command, words: tuple[str, ...], message: str) -> None:
    code, _, err = command(*words)
    assert code == 2
    assert message in err


def test_a_file_of_no_known_format_is_refused(command: Command) -> None:
    code, _, err = command("extract", "--source", "yeast", "--encoder", "hashing", "--out", "f.features")
    assert code == 1
    assert "a file to write must end with" in err


def test_what_a_pool_did_is_told_in_a_line() -> None:
    metrics = {"payloads": 5000, "block_size": 31.5, "workers": [{}, {}], "deaths": 0, "busy_share": 0.5}
    line = "extraction: 5,000 payloads in blocks of 31.5, 2 encoders, busy 50% of the time"
    assert told({**metrics, "device_share": 0.5}) == line
    assert told({**metrics, "device_share": 0.42}) == f"{line}, devices 42%"
    died = told({**metrics, "deaths": 2, "device_share": 0.5})
    assert died == line.replace("encoders", "encoders, 2 that died")
    assert at_work({**metrics, "queue": 0}) == "encoders 50% busy"
    assert at_work({**metrics, "queue": 3}) == "encoders 50% busy, 3 blocks wait"


def test_encoders_by_their_text() -> None:
    assert build("hashing:dim=64,words=1,idf=true").fingerprint == HashingEncoder(64, words=1, idf=True).fingerprint
    assert build(f"{TOYS}:numbers") is toys.numbers
    assert isinstance(build(f"{TOYS}:Marked"), toys.Marked)
    with pytest.raises(SpecError, match="encoder must be callable"):
        build("tests.cli.toys:NoLearner")


def test_help_tells_what_a_plan_can_be_told() -> None:
    shown = CliRunner().invoke(app, ["extract", "--help"])
    assert shown.exit_code == 0
    options = {flag: option for option in get_command(app).commands["extract"].params for flag in option.opts}
    for field, info in ExtractPlan.model_fields.items():
        flag = f"--{(info.alias or field).replace('_', '-')}"
        assert flag in options
        if info.default not in (None, False) and not info.is_required():
            assert f"default: {info.default}]" in options[flag].help, flag


def test_a_plan_tells_its_encoder(command: Command) -> None:
    code, out, _ = command("extract", "--source", "s", "--encoder", "hashing", "--out", "f.npz", "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["encoder"] == "hashing"
