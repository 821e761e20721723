"""A small image encoder of one's own: trained on images within minutes, and kept as transformers keeps it."""
