"""What was recorded, as the API shows it: jobs, runs, what happened in them, blobs."""
