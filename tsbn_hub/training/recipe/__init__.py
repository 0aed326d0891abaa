"""What a run is: its config, and the data, tasks and model that are built of it."""
