"""Pretraining: from CLIP to towers that know colour and identity."""
