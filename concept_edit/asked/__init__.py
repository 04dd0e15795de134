"""The parts of a recipe: what can be asked of a concept, in which words, read from which file."""
