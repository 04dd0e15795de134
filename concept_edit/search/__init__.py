"""Run twice, transplant, rank: which state of a network carries a fact, which heads carry a task."""
