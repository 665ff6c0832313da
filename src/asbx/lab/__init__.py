"""The pretend world on this machine: an EC2 emulator, real Slurm, and what runs between them."""
