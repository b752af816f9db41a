"""Demo data: a year of a believable marketplace, made up, the same on every run of a day."""
