"""One prefill: the probability first, then the reason."""
