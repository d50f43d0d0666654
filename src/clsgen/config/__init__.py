"""Settings: a file a stage, a YAML 1.2 loader, and what is generated from the fields."""
