"""Neurons: their distributions out of mergeable parts, and what they tell of labels."""
