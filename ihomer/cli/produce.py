"""``ihomer produce``: a source is replayed into a topic or a file, at the rate of one's choice."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from ihomer.cli import options


def produce(
    source: Annotated[
        str, typer.Option("--source", metavar="S", help="Where events come from: a file, a known name or a topic.")
    ],
    sink: Annotated[
        str, typer.Option("--sink", metavar="S", help="A topic: kafka://host:port/topic, or log:DIR?partitions=4.")
    ],
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", help="Events a second; by default as fast as it goes.")
    ] = None,
    label_sink: Annotated[
        str | None,
        typer.Option("--label-sink", metavar="S", help="Write labels to this topic, and events without them."),
    ] = None,
    label_delay: Annotated[
        float,
        typer.Option("--label-delay", metavar="SECONDS", help="How much later than its event a label is written."),
    ] = 0.0,
    labels: options.Labels = None,
    max_events: options.MaxEvents = None,
    shuffle: options.Shuffle = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end, for ever.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Replay a stream into a topic, for trying a pipeline out and for measuring one.

    Events that have no id get one, and all get the time at which they are due.
    What cannot be read is left out and counted.

    [bold]Examples[/]
      ihomer produce --source yeast --sink log:events --rate 100
      ihomer produce --source yeast --sink kafka://localhost:9092/events --label-sink kafka://localhost:9092/labels
    """
    from ihomer.cli.terminal import UsageError
    from ihomer.evaluation.prequential import ordered
    from ihomer.progress import NoProgress, RichProgress
    from ihomer.replaying import replay
    from streams.opening import open_source
    from streams.topics.address import is_topic

    for flag, where in (("--sink", sink), ("--label-sink", label_sink)):
        if where is not None and not is_topic(where):
            raise UsageError(f"{flag} must be a topic, kafka://host:port/topic or log:DIR, got {where!r}")
    with closing(open_source(source, labels=labels, on_error="skip")) as stream:
        replay(
            ordered(stream, shuffle),
            sink,
            rate=rate,
            label_sink=label_sink,
            label_delay=label_delay,
            max_events=max_events,
            loop=loop,
            progress=NoProgress() if quiet else RichProgress(),
        )
