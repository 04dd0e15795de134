"""What opens an image model: folders, single files, the hub, a live pipeline; their layouts and names."""
