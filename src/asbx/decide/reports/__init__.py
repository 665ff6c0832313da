"""What is told of costs beside their sums: FOCUS rows, charts, savings."""
