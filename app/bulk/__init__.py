"""One thing done to many rows: a set that is frozen when it is asked for and worked through by a job."""
