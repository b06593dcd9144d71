"""The demo: one story from the first tool document to the rollback, with its data."""
