"""The Python API: what `import stratascope` offers to a notebook. The top of the house beside `cli`."""
