"""How the embedded base model is made: corpus, optimiser, stages, instruct rows, asset."""
