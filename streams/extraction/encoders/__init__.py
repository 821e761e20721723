"""Encoders that come with the house. Each is a small object that is picklable and loads what it needs in `warm_up`."""
