"""Pure functions on arrays: metrics, centring, summaries, intervals. NumPy and SciPy only."""
