"""A real Slurm and an emulated EC2 on one machine: the product's proving ground. Never needed on a head node."""
