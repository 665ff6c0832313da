"""The record: the only SQL of the project. Decides nothing, talks to neither AWS nor Slurm."""
