"""Tests mirror the rooms; `architecture` holds what is true of the whole house."""
