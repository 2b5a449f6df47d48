"""Fine-tuning, evaluation and everything a finished model is used for."""
