"""ASBX lets an existing Slurm cluster burst into EC2.

Nothing happens at import: the Slurm hooks start this package for every call of slurmctld.
"""

__version__ = "0.1.0"
