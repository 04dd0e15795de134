"""The parts of an edit: what is solved for, what is written into a model, what stands in the file."""
