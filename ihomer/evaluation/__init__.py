"""Prequential evaluation: metrics, the loop and its results."""
