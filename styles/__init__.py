"""Find the StyleGAN units behind a marked region, and turn them."""
