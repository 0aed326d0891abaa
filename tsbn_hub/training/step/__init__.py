"""One optimizer step: gradients, what is not finite, tasks that rest."""
