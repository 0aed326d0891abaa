"""One optimizer step: gradients of all tasks, and tasks that rest."""
