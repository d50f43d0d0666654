"""Built-in tasks: each hands rows to the data layer."""
