"""Payloads in, rows of features out, in the same order, by however many workers."""
