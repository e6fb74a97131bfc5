"""What is computed from features alone: read them, measure, and leave one index for the tables."""
