"""Records, readers, views and their order."""
