"""A model for others: exported for three libraries, with a card, pushed to the Hub."""

FORMATS = ("transformers", "open_clip", "sentence_transformers")
"""The libraries that a model is exported for."""
