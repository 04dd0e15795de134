"""Files from strangers: bounded before anything is built of them, checked against one schema a kind, one sentence."""
