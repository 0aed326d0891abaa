"""The BatchNorm of heads."""

import torch.nn.functional as F
from torch import Tensor, nn


class HeadBatchNorm(nn.BatchNorm2d):
    """A BatchNorm2d that in training, too, can take a single value a channel.

    A task may have one labelled image in a batch, and heads pool maps to one pixel. One value has no variance, and
    torch refuses it: here it is normalised by the running statistics, which it leaves as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def _with_head_batch_norms(decoder: nn.Module) -> nn.Module:
    for module in decoder.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = HeadBatchNorm  # in place: the decoders hold some modules in lists of their own
    return decoder
