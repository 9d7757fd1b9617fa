"""Speech separation with deep clustering and dual-path RNNs."""

__version__ = "0.1.0"
