"""Bookings: from the quote to the stay, and the story of each."""
