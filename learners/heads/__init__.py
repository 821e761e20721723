"""Heads for frozen features: classifiers of dense vectors whose classes may appear at any event."""
