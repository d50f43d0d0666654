"""The noise study: what a teacher's errors do to a model, on notes whose true causes are known."""
