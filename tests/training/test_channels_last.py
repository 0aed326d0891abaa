"""The order that the weights of convolutions are kept in changes nothing but speed."""

from accelerate import Accelerator
from torch import channels_last
from torch.testing import assert_close

from tests.training.small_runs import write_config
from tsbn_hub.training import TrainingConfig
from tsbn_hub.training.loop import Training
from tsbn_hub.training.state.signals import StopSignals


def after_a_step(folder, name, **changes):
    """A run in memory, and the losses of its first step."""
    training = Training(TrainingConfig.read(write_config(folder, name, **changes)), Accelerator(), StopSignals())
    training.model.train()
    (batches, *_) = training.steps.of_epoch(1)
    return training, training.learner.take_step(batches, 0).losses


def in_that_order(learner):
    """Of the momentum of each convolution's weights, whether it and they are in the order of channels last."""
    state = learner.optimizer.optimizer.state
    return [
        (parameter.is_contiguous(memory_format=channels_last), moment.is_contiguous(memory_format=channels_last))
        for parameter, values in state.items()
        for moment in values.values()
        if moment.dim() == 4 and min(moment.shape[1:]) > 1  # with one channel or pixel it is in both orders
    ]


def test_a_step_is_the_same_but_for_rounding(tmp_path):
    plain, losses = after_a_step(tmp_path, "plain")
    reordered, same = after_a_step(tmp_path, "reordered", channels_last=True)
    assert_close(same, losses, rtol=1e-4, atol=1e-4)
    assert_close(dict(reordered.model.state_dict()), dict(plain.model.state_dict()), rtol=0.01, atol=0.01)
    assert not any(weight for weight, _ in in_that_order(plain.learner))


def test_what_goes_on_is_laid_out_as_what_began(tmp_path):
    training, _ = after_a_step(tmp_path, "run", channels_last=True)
    learner = training.learner
    assert set(in_that_order(learner)) == {(True, True)}
    state = learner.state_dict()
    for values in state["optimizer"]["state"].values():  # as they come from a file
        values.update({name: moment.contiguous() for name, moment in values.items()})
    learner.load_state_dict(state)
    assert set(in_that_order(learner)) == {(True, True)}
