"""Si-Blurry: labelled samples in an order in which classes come and go at blurred boundaries."""

from streams.siblurry.arrangement import Arrangement
from streams.siblurry.scenario import SiBlurry
from streams.siblurry.source import ArrangedSource
from streams.siblurry.url import open_siblurry

__all__ = ["ArrangedSource", "Arrangement", "SiBlurry", "open_siblurry"]
