"""What text encoders say: which token rows stand for a concept, their statistics, and the corpus of plain captions."""
