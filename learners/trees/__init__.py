"""Hoeffding adaptive trees for many labels, compiled."""
