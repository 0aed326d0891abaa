"""The losses of kinds by name: to add one is to add a file here, or to register one from anywhere."""

from .loss import KindWithLosses, Loss, make_loss, register_loss

__all__ = ["KindWithLosses", "Loss", "make_loss", "register_loss"]
