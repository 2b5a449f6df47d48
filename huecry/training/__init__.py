"""The one trainer and what it stands on."""
