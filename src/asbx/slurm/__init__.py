"""Slurm's side: the one place that starts its commands, the parsers of what they print, the writers of its files."""
