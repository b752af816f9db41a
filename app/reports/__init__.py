"""What is read across subjects: checks and figures. Nothing here writes."""
