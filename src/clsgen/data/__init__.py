"""From files to token ids: sources, roles, leakage, rendering, batches."""
