"""Who did what, before and after, and why: append-only at once, sealed into a hash chain by a job."""
