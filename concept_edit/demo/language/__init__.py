"""Two tiny language models: one that knows a world of facts, one that learns tasks from examples."""
