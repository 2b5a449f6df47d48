"""Fine-tuning recipes."""
