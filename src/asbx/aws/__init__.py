"""EC2's side: the only place that knows boto3. Its dictionaries and exceptions never leave this room."""
