"""MLflow's picture of what the registry recorded: runs, logged models, registered versions and aliases.

MLflow lives here and nowhere else. It is told afterwards and may be told twice; the registry stays the truth.
"""
