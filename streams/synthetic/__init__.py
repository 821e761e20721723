"""Multi-label streams drawn from known concepts, with drifts at known places."""

from streams.synthetic.schedule import Drift
from streams.synthetic.source import SyntheticSource
from streams.synthetic.url import open_synthetic

__all__ = ["Drift", "SyntheticSource", "open_synthetic"]
