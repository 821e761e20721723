"""``ihomer show``: what is in a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ihomer.cli.options import JsonSwitch
from ihomer.cli.terminal import UsageError, console, plain_table, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.tree import Tree

    from ihomer.checkpoint import Arrays
    from ihomer.hierarchy import LabelHierarchy
    from streams.schema import Name

_KNOWN = ("format", "version", "kind", "learners", "source", "sinks", "counts")
_WITHIN = ("reported", "told")
"""What of a run's manifest is shown in a way of its own, and what only a run that goes on has a use for."""

_MOST_LABELS = 12


def show(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Checkpoint, or a folder of them, of which the latest is shown.")
    ],
    history: Annotated[
        bool, typer.Option("--history", help="Tell every change of the label clusters, and what it rested on.")
    ] = False,
    as_json: JsonSwitch = False,
) -> None:
    """Show what is in a checkpoint: schema, label clusters, counts, bytes and positions.

    Nothing in the file is executed.

    [bold]Examples[/]
      ihomer show state
      ihomer show state --history
      ihomer show model.ckpt --json
    """
    from ihomer.checkpoint import CheckpointStore, read

    path = Path(file)
    if path.is_dir():
        found = CheckpointStore(path).latest()
        if found is None:
            raise UsageError(f"{file}: must be a checkpoint or a folder with one, got {_instead(path)}")
        path, manifest, arrays = found
    else:
        manifest, arrays = read(path)
    contents = _contents(path, manifest, arrays, history)
    if as_json:
        print_json(contents)
    else:
        _draw(console(), contents)


def _instead(folder: Path) -> str:
    """What a folder without checkpoints holds: those of a topic are in a folder a partition."""
    inner = sorted(one.name for one in folder.iterdir() if one.is_dir() and any(one.glob("checkpoint-*.ckpt")))
    return f"a folder without; {', '.join(inner)} in it have some" if inner else "a folder without"


def _contents(path: Path, manifest: Mapping[str, Any], arrays: Arrays, history: bool) -> dict[str, Any]:
    """Everything that is shown, as a JSON object."""
    from streams.batch import Schema

    packed = arrays.get("schema", arrays.get("0/model/schema"))
    schema = Schema() if packed is None else Schema.from_array(packed)
    learners = []
    for number, learner in enumerate(manifest.get("learners", [])):
        n_bytes = sum(array.nbytes for name, array in arrays.items() if name.startswith(f"{number}/model/"))
        hierarchy, names = _hierarchy(learner, number, arrays)
        tree = None if hierarchy is None else hierarchy.tree(names)
        told = {} if hierarchy is None or not history else {"history": hierarchy.named_events(names)}
        learners.append({**learner, "bytes": n_bytes, "hierarchy": tree, **told})
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        **manifest,
        "learners": learners,
        "schema": {
            "n_features": schema.n_features,
            "n_nominal": len(schema.categories),
            "n_ignored": len(schema.ignored),
            "sparse": schema.sparse,
            "n_labels": schema.n_labels,
            "features": schema.feature_names,
            "labels": schema.label_names,
        },
        "arrays": {
            name: {"dtype": str(array.dtype), "shape": list(array.shape), "bytes": array.nbytes}
            for name, array in arrays.items()
        },
    }


def _hierarchy(learner: Mapping[str, Any], number: int, arrays: Arrays) -> tuple[LabelHierarchy | None, Sequence[Name]]:
    """The label hierarchy of a learner that has one and comes with the engine, and the names of the labels."""
    from drift.pickled import PickleRefusedError
    from ihomer.checkpoint import CheckpointError, below, build

    state = below(f"{number}/model", arrays)
    if {"pickle", "river"} <= state.keys():
        return None, ()
    try:
        model = build(learner)
        model.set_state(state)
    except (CheckpointError, PickleRefusedError):
        return None, ()
    return getattr(model, "hierarchy_", None), model.schema_.label_names


def _draw(screen: Console, contents: Mapping[str, Any]) -> None:
    from rich.text import Text

    schema, counts = contents["schema"], contents.get("counts", {})
    source = contents.get("source", {})
    screen.print(
        Text(contents["file"], "bold"), Text(f"{contents.get('kind', 'checkpoint')}, {_size(contents['bytes'])}", "dim")
    )
    table = plain_table("what", "found")
    table.show_header = False
    kinds = [
        f"{schema[key]:,} {what}" for key, what in (("n_nominal", "nominal"), ("n_ignored", "ignored")) if schema[key]
    ]
    kinds.append("sparse" if schema["sparse"] else "dense")
    table.add_row(
        "schema", Text(f"{schema['n_features']:,} features ({', '.join(kinds)}), {schema['n_labels']:,} labels")
    )
    table.add_row("labels", Text(_some(schema["labels"])))
    if counts:
        named = {**counts, **({"labels present": counts["present"]} if "present" in counts else {})}
        named.pop("present", None)
        said = [f"{value:,} {name}" for name, value in named.items() if value or name == "read"]
        table.add_row("counts", Text(", ".join(said)))
    if source:
        table.add_row("source", Text(f"{source.get('name')} at {_compact(source.get('position'))}"))
    for name, position in contents.get("sinks", {}).items():
        table.add_row("sink", Text(f"{name} at {_compact(position)}"))
    shown = {*_KNOWN, *_WITHIN, "file", "bytes", "schema", "arrays"}
    for name, value in contents.items():
        if name not in shown and value not in (None, [], {}):
            table.add_row(Text(name), Text(_compact(value)))
    screen.print(table)
    for learner in contents["learners"]:
        _draw_learner(screen, learner)


def _draw_learner(screen: Console, learner: Mapping[str, Any]) -> None:
    from rich.text import Text

    name, cls = learner.get("name", ""), learner.get("class", "")
    title = Text.assemble((name or cls, "bold"), f"  {_size(learner['bytes'])}")
    title.append(f"  {cls}" if name else "", "dim").append("  baseline" if learner.get("baseline") else "", "dim")
    screen.print(title)
    params = ", ".join(f"{key}={_compact(value)}" for key, value in learner.get("params", {}).items())
    if params:
        screen.print(Text(f"  {params}", "dim"))
    if learner["hierarchy"] is not None:
        screen.print(tree_of(learner["hierarchy"]))
    if "history" in learner:
        screen.print(history_of(learner["history"]))


def history_of(events: Sequence[Mapping[str, Any]]) -> Table:
    """Structural events, a line each: when, what, which node and labels, and what a split or a merge rested on."""
    from rich.text import Text

    table = plain_table("event", "what", "node", "labels", "evidence", right=("event", "node"))
    for event in events:
        labels = " | ".join(map(_some, event.get("halves", [event["labels"]])))
        table.add_row(f"{event['event']:,}", event["kind"], str(event["node"]), Text(labels), Text(_evidence(event)))
    return table


def _evidence(event: Mapping[str, Any]) -> str:
    """The gain of the halves and its bound, or in paper mode the largest distance and its bound."""
    if "gain" in event:
        best = f" of {event['best_gain']:.3f}" if "best_gain" in event else ""
        return f"{event['reason']}: gain {event['gain']:.3f}{best}, bound {event['bound']:.3f}"
    return f"diameter {event['d1']:.3f}, bound {event['bound']:.3f}" if "bound" in event else ""


def tree_of(node: Mapping[str, Any]) -> Tree:
    """A label hierarchy as branches and leaves: the labels of every cluster, its diameter and its events."""
    from rich.text import Text
    from rich.tree import Tree

    facts = [f"{len(node['labels']):,} {'label' if len(node['labels']) == 1 else 'labels'}"]
    if node.get("n_events") is not None:
        facts.append(f"{node['n_events']:,} events")
    if node.get("diameter") is not None:
        facts.append(f"diameter {node['diameter']:.3f}")
    line = Text(", ".join(facts), "dim")
    if not node["children"]:
        line = Text.assemble("rare: " if node["id"] == -1 else "", _some(node["labels"]), "  ", line)
    tree = Tree(line, guide_style="dim")
    for child in node["children"]:
        tree.children.append(tree_of(child))
    return tree


def _some(labels: list[Any]) -> str:
    """Names, as many as a line bears."""
    names = ", ".join(map(str, labels[:_MOST_LABELS]))
    rest = len(labels) - _MOST_LABELS
    return f"{names} and {rest:,} more" if rest > 0 else names


def _compact(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _size(n_bytes: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "KB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:,.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"
