"""The use cases, one file each, between the command line and the rooms that do the work."""
