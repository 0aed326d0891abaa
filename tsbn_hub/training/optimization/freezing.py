"""Training some tasks of a model without touching the others: what the tasks share stays as it is."""

from torch import nn

from ...norms import SharedBatchNorm, TaskModule
from ...norms.statistics import own_batch_norms


def freeze_trunk(model: nn.Module) -> None:
    """Fix, in place, what the tasks of a model share. What a single task has of its own still learns.

    Trainable remain the gates (of TSBN: the weights and biases per task), the classifiers and the heads. A BatchNorm
    with statistics per task still takes those of the task that is run; one that the tasks share normalises by its
    running statistics and leaves them, in training, too.

    With `idle_tasks_at_rest` around the optimizer's steps, every task that is not run keeps its outputs bit for bit.
    Without it, weight decay moves the classifiers of all tasks in a timm model, which are one parameter, and so do
    the averages of an optimizer that has stepped for other tasks before.

    Freeze before the model is wrapped for distributed training, and before its `param_groups` are taken. It holds
    until the model is loaded anew: a checkpoint does not say it.

    Args:
        model: A model with tasks.

    Raises:
        TypeError: if the model has no tasks, or a BatchNorm of a class that is not registered.

    Example:
        >>> import timm, torch, tsbn_hub
        >>> from tsbn_hub.training import idle_tasks_at_rest
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8})
        >>> model.add_task("smile", num_classes=2, like="age")
        >>> tsbn_hub.freeze_trunk(model)
        >>> optimizer = torch.optim.AdamW(tsbn_hub.param_groups(model, lr=1e-3))
        >>> [group["name"] for group in optimizer.param_groups]
        ['weights', 'biases and norms', 'gates of BatchNorms']
        >>> x = torch.rand(4, 3, 64, 64)
        >>> before = model.eval()(x)
        >>> model.train()(x, task="smile").square().mean().backward()
        >>> with idle_tasks_at_rest(model, optimizer, active=["smile"]):
        ...     optimizer.step()
        >>> {task: torch.equal(output, before[task]) for task, output in model.eval()(x).items()}
        {'gender': True, 'age': True, 'smile': False}
    """
    if not isinstance(model, TaskModule):
        raise TypeError(
            f"{type(model).__name__} has no tasks: create it by a name with _tsbn, or tsbn_hub.convert(model, "
            "tasks=[…]). Freeze the model itself, before it is wrapped."
        )
    of_single_tasks = {id(parameter) for parameter in parameters_of_single_tasks(model)}
    for parameter in model.parameters():
        if id(parameter) not in of_single_tasks:
            parameter.requires_grad = False
    shared = own_batch_norms(model.trunk)
    own = {id(part) for task in model.tasks for module in model.modules_of(task) for part in module.modules()}
    for norm in shared:
        if isinstance(norm, SharedBatchNorm) and id(norm) not in own:
            norm.frozen = True


def parameters_of_single_tasks(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that the tasks do not share: of task norms, classifiers and heads.

    Args:
        network: A model with tasks, or one that holds it.
    """
    models = [module for module in network.modules() if isinstance(module, TaskModule)]
    return list(dict.fromkeys(parameter for model in models for parameter in model.parameters_of_single_tasks()))
