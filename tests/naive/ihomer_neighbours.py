"""Nearest neighbours, their votes and the lists of likely labels, event by event in plain Python."""

from __future__ import annotations

import math

PART = 4080


def column_and_sign(column, widest):
    """Where a column is added where there are too many."""
    if column < widest:
        return column, 1
    mixed = column * 0x3C6EF373
    mixed ^= mixed >> 15
    return (mixed >> 1) % widest, -1 if mixed % 2 else 1


def whole_row(row, widest):
    """Column to whole number of 1/4080, of a row brought to unit length; ``row`` is column to value."""
    folded = {}
    for column, value in row.items():
        if column >= 0:
            place, sign = column_and_sign(column, widest)
            folded[place] = folded.get(place, 0.0) + sign * value
    length = math.sqrt(sum(value * value for _, value in sorted(folded.items())))
    if length == 0:
        return {}
    return {column: round(value * (PART / length)) for column, value in folded.items()}


def nearest(rows, taught, size, k, widest=1024):
    """For every row the (number, cosine) of its neighbours among the last ``size`` rows taught before it."""
    held, answers = [], []
    for row, learned in zip(rows, taught, strict=True):
        own = whole_row(row, widest)
        products = {
            number: sum(value * other.get(column, 0) for column, value in own.items())
            for number, other in list(enumerate(held))[-size:]
        }
        order = sorted(products, key=lambda number: (-products[number], number))[:k]
        answers.append([(number, products[number] / PART**2) for number in order])
        if learned:
            held.append(own)
    return answers


def weighed_rows(rows, taught):
    """Sparse rows as they are held: tf log((n + 1) / (m + 1/2)) / r at unit length; a row is column to value."""
    seen, weighed = [], []
    for row, learned in zip(rows, taught, strict=True):
        looked = [*seen, row]
        found = {}
        for column, value in row.items():
            values = [other[column] for other in looked if column in other]
            scale = math.sqrt(sum(v * v for v in values) / len(values))
            found[column] = value * math.log((len(looked) + 1) / (len(values) + 0.5)) / scale
        length = math.sqrt(sum(v * v for v in found.values()))
        weighed.append({column: v / length for column, v in found.items()} if length else {})
        if learned:
            seen.append(row)
    return weighed


def vote(neighbours, taught_labels, label, sharpness):
    """Share of the votes for ``label``; ``neighbours`` are (number, similarity), nearest first.

    ``taught_labels[number]`` is (present, known or None for all, weight).
    """
    have = know = 0.0
    for number, similarity in neighbours:
        present, known, weight = taught_labels[number]
        share = weight * math.exp(sharpness * (similarity - neighbours[0][1]))
        if known is None or label in known:
            know += share
            have += share * (label in present)
    return have / know if know > 0 else 0.0


def draws(number, n_draws, born):
    """Labels drawn for the taught event of this number."""
    drawn = []
    for draw in range(n_draws):
        mixed = (number * 0x9E3779B97F4A7C15 + draw) % 2**64
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            mixed = (mixed ^ (mixed >> 33)) * factor % 2**64
        drawn.append((mixed ^ (mixed >> 33)) % born)
    return drawn


def most_frequent(history, n, half_life):
    """The ``n`` labels with the highest counts, an occurrence counting half after ``half_life`` events.

    Of equal counts the one reached first is higher. ``history`` has the labels of every taught event.
    """
    counts, reached = {}, {}
    for number, labels in enumerate(history):
        for place, label in enumerate(labels):
            counts[label] = counts.get(label, 0.0) + 2.0 ** (number / half_life)
            reached[label] = (number, place)
    return sorted(counts, key=lambda label: (-counts[label], reached[label]))[:n]


def cells(events, neighbours, limit, n_frequent, n_negatives, half_life):
    """For every event its (label, target, asked), labels ascending; target None: nothing is learned.

    ``events`` are (present, known or None for all, taught, born before, born after); what is known of labels that are
    born later does not count.
    """
    history, answers = [], []
    for (present, known, taught, born, after), near in zip(events, neighbours, strict=True):
        if born <= limit:
            listed = asked = set(range(born))
            listed = set(range(after)) if taught else asked
        else:
            asked = {label for number, _ in near for label in history[number]}
            asked |= set(history[-1]) if history else set()
            asked |= set(most_frequent(history, n_frequent, half_life))
            asked = {label for label in asked if label < born}
            listed = set(asked)
            if taught:
                listed |= set(present) | set(known or ())
                listed |= set(draws(len(history), n_negatives, born)) if known is None else set()
        answer = []
        for label in sorted(label for label in listed if label < after):
            target = float(label in present) if taught and (known is None or label in known) else None
            answer.append((label, target, label in asked))
        answers.append(answer)
        if taught:
            history.append(list(present))
    return answers
