"""Every table, in one place: what the migrations compare the database with."""
