"""One learner of MOA over an ARFF file: ``capymoa_loops.py EVENTS.arff LEARNER PARAMETERS LOOP N ANSWERS.npy``.

LEARNER is a classifier of CapyMOA, PARAMETERS what it is made with, as JSON, and LOOP where events are handed over:
``java``, MOA's own prequential loop, or ``python``, `predict` and `train` an event. The first N events are in memory
before the clock starts. A first pass warms the virtual machine and leaves its answers in ANSWERS.npy; the second, by a
fresh learner, is timed. Where a learner votes for no class, the answer is the first, as MOA's evaluator counts it.
Prints seconds and accuracy of the second pass as JSON.
"""

import json
import sys
import time

import numpy as np
from capymoa import classifier
from capymoa.stream import ARFFStream
from com.yahoo.labs.samoa.instances import Instances
from moa.evaluation import BasicClassificationPerformanceEvaluator, EfficientEvaluationLoops
from moa.streams import CachedInstancesStream

path, name, given, loop, n, target = sys.argv[1:]
stream = ARFFStream(path)
schema = stream.get_schema()
events = []
while stream.has_more_instances() and len(events) < int(n):
    events.append(stream.next_instance())
in_java = Instances(stream.moa_stream.getHeader(), 0)
if loop == "java":
    for event in events:
        in_java.add(event.java_instance.getData())


def _fresh(name, parameters):
    """A learner that has seen nothing; ``[NAME, PARAMETERS]`` as a parameter is another one, of which it is made."""
    made = {key: _fresh(*value) if isinstance(value, list) else value for key, value in parameters.items()}
    return getattr(classifier, name)(schema, **made)


def _run_java(keep):
    """Seconds, accuracy and, if they are to be kept, answers."""
    learner, source = _fresh(name, json.loads(given)).moa_learner, CachedInstancesStream(in_java)
    judge = BasicClassificationPerformanceEvaluator()
    began = time.perf_counter()
    found = EfficientEvaluationLoops.PrequentialEvaluation(source, learner, judge, None, -1, 1000, keep, keep)
    seconds = time.perf_counter() - began
    right = next(each.getValue() for each in judge.getPerformanceMeasurements() if "correct" in str(each.getName()))
    return seconds, right / 100, np.array([int(answer) for answer in found.predictions]) if keep else None


def _run_python(keep):
    """The same."""
    learner, answers = _fresh(name, json.loads(given)), []
    began = time.perf_counter()
    for event in events:
        answers.append(learner.predict(event))
        learner.train(event)
    seconds = time.perf_counter() - began
    answers = np.array([answer or 0 for answer in answers])
    return seconds, float((answers == [event.y_index for event in events]).mean()), answers


run = _run_java if loop == "java" else _run_python
np.save(target, run(True)[2])
seconds, accuracy, _ = run(False)
print(json.dumps({"events": len(events), "seconds": seconds, "accuracy": accuracy}))
