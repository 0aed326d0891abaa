"""Files, and the names of things in them: the ground that everything else stands on."""
