"""How the embedded model was made: data, tokenizer, autoencoder, CLIP towers, judges, denoiser, card; in that order."""
