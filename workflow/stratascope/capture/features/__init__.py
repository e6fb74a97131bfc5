"""Features: a dataset through a model, a shard at a time, at the speed of the forward pass."""
