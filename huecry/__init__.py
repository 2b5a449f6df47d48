"""Find a person's photographs from a sentence."""
