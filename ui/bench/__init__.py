"""What the errands on image models share: words, pairs of pictures, a verdict, strength, history, files."""
