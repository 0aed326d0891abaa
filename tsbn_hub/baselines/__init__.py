"""Other ways for tasks to share a network, by name: to add one is to add a file here."""
