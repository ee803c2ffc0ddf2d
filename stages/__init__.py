"""What is computed: plain Python, NumPy and torch. Nothing in this package imports ray."""
