"""Model cards: what is known of a checkpoint, for its readers and for the Hub."""
