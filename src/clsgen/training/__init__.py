"""One forward, two losses, under the transformers Trainer."""
