"""Real work for the simulator: traces in the Standard Workload Format and as sacct prints them."""
