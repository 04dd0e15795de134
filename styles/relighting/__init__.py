"""Relight photographs: pairs of pictures with a lamp off and on, a small network that learns from them, measures."""
