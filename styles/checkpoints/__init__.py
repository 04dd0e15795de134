"""Foreign generator files in, nothing in them run; safetensors out."""
