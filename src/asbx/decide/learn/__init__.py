"""What a job that is over teaches: documents for advisor and budget service, from measurements only."""
