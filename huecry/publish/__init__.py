"""A model for others: exported for three libraries, with a card, pushed to the Hub."""
