"""One iHOMER whose label columns are with workers."""
