"""Inputs of a linear model, every moment counted anew from the events so far."""

from __future__ import annotations

import math

import numpy as np

from streams.batch import NOMINAL, Rows


def events_of(batch):
    """Each event as {column: number or category name}, missing cells left out."""
    schema = batch.schema
    for i in range(len(batch)):
        if isinstance(batch.x, Rows):
            low, high = batch.x.indptr[i], batch.x.indptr[i + 1]
            cells = zip(batch.x.indices[low:high], batch.x.data[low:high], strict=True)
        else:
            cells = enumerate(batch.x[i])
        event = {}
        for column, value in cells:
            if column in schema.ignored or math.isnan(value) or (schema.sparse and value == 0):
                continue
            nominal = schema.kinds[column] == NOMINAL
            event[int(column)] = schema.categories[column][int(value)] if nominal else float(value)
        yield event


def scaled(history, event, sparse, standardise=True):
    """The inputs of ``event`` that are not 0; ``history`` are the events learned before it. 0.0 is the intercept."""
    seen = [*history, event]
    inputs = {"intercept": 1.0}
    for column, value in event.items():
        name = (column, value) if isinstance(value, str) else column
        if isinstance(value, str):
            share = sum(e.get(column) == value for e in seen) / len(seen)
            z = math.sqrt((1 - share) / share) if standardise and not sparse else 1.0
        elif not standardise:
            z = value
        else:
            values = np.array([e[column] for e in seen if column in e])
            if sparse:
                z = value / math.sqrt(np.mean(values**2))
            else:
                deviation = 0.0 if (values == values[0]).all() else values.std()
                z = (value - values.mean()) / deviation if deviation > 0 else 0.0
        z = min(max(z, -5.0), 5.0) if standardise else z
        if z != 0:
            inputs[name] = z
    return inputs
