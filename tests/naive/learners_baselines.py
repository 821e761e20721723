"""The baselines, with sets and counts."""

from __future__ import annotations

from streams.batch import COMPLETE, UNLABELLED


def no_change(batch):
    """The predicted sets, each event answered before it is learned."""
    previous, answers = set(), []
    for t in range(len(batch)):
        answers.append(set(previous))
        present = set(batch.y.row(t).tolist())
        if batch.label_state[t] == COMPLETE:
            previous = present
        elif batch.label_state[t] != UNLABELLED:
            previous = previous - set(batch.known.row(t).tolist()) | present
    return answers


def majority(batch):
    """The probabilities, each event answered before it is learned: one {label: probability} an event."""
    learned, answers = [], []
    for t in range(len(batch)):
        answer = {}
        for label in range(batch.schema.n_labels):
            held = sum(weight for weight, known, present in learned if label in present)
            if held:
                known_for = sum(weight for weight, known, present in learned if known is None or label in known)
                answer[label] = (held + 0.5) / (known_for + 1)
        answers.append(answer)
        weight, present = batch.weight[t], set(batch.y.row(t).tolist())
        if batch.label_state[t] == COMPLETE:
            learned.append((weight, None, present))
        elif batch.label_state[t] != UNLABELLED:
            learned.append((weight, set(batch.known.row(t).tolist()), present))
    return answers
