"""Deep clustering and dual-path RNNs for single-channel speech separation."""
