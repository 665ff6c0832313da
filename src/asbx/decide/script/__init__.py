"""Reading a job script as sbatch does, and saying what the job is: pure, nothing is started or asked."""
