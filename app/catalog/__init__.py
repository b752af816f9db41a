"""What is for sale: providers, their packages, and the stock of each day."""
