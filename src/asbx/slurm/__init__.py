"""The only room that knows how Slurm speaks: its programs, its files, its tables."""
