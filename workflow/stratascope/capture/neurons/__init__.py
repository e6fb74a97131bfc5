"""Neurons: what every neuron of a site does over a dataset, counted while the model reads it."""
