"""Two revisions, two folders or two checkpoints, number by number."""
