"""Stratascope: reproducible studies of what happens inside language models, layer by layer."""

__version__ = "0.1.0"
