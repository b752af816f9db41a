"""What travellers say about stays that are over."""
