"""What slurmctld starts. Standard library only, nothing of ours above this room; gone again in milliseconds."""
