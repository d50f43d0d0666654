"""The dual-head model: backbone, class head, losses, calibration, checkpoints."""
