"""What the dual-head model is compared with."""
