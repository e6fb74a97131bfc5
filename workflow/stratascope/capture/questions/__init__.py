"""Benchmark questions: asked in batches, answered, graded, and stored with their activations."""
