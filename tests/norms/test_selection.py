"""Which task a forward is for: names, one task set, one for a block, and several threads."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from torch import Tensor, nn

import tsbn_hub  # noqa: F401
from tsbn_hub.norms import TaskModule, TaskSelector, convert

TASKS = ["second", "first", "third"]


def build(tasks: list[str] = TASKS) -> TaskModule:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.LayerNorm(8))
    net = convert(net, tasks=tasks, gated="1,4").eval()
    net.execution = "sequential"  # the sums of a batched pass may have another order
    with torch.no_grad():
        for norm in (net[1], net[4]):
            norm.gate_logits.normal_()
    return net


@pytest.fixture
def net() -> TaskModule:
    return build()


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(3, 4)


# --- names ---


@pytest.mark.parametrize(
    ("tasks", "error", "message"),
    [
        ([], ValueError, "at least one task"),
        ([""], ValueError, "'' cannot be a task's name"),
        (["a", ""], ValueError, "not empty"),
        (["a", "b.c"], ValueError, "'b.c' cannot be a task's name"),
        (["a", "b", "a", "c", "b"], ValueError, r"\['a', 'b'\] are repeated"),
        (["a", 3], TypeError, r"must be a string, not 3 \(int\)"),
        (["a", None], TypeError, "must be a string, not None"),
        ([b"a"], TypeError, "must be a string"),
        ("age", TypeError, r"Did you mean \['age'\]"),
        ("", TypeError, "must be a list of names"),
    ],
)
def test_names_that_are_refused(tasks, error, message):
    with pytest.raises(error, match=message):
        TaskSelector(tasks)
    plain = nn.Sequential(nn.BatchNorm1d(2))
    with pytest.raises(error, match=message):
        convert(plain, tasks=tasks)
    assert type(plain[0]) is nn.BatchNorm1d, "nothing is changed"
    with pytest.raises(error, match=message):
        timm.create_model("test_resnet_tsbn", tasks=tasks)


def test_names_that_nothing_else_allows(x):
    names = ["type", "keys", "values", "train", "float", "items", "forward", "weight", "task norm", "σ", "a/b"]
    net = build(names)
    outputs = net(x)
    assert list(outputs) == net.tasks == names
    for name in names:
        assert torch.equal(net(x, task=name), outputs[name])
        with net.using_task(name):
            assert torch.equal(net(x), outputs[name])
        assert torch.equal(net.fold(name)(x), outputs[name])
    assert net.load_state_dict(net.state_dict())
    model = timm.create_model("test_resnet_tsbn", tasks=names[:5], num_classes=3).eval()
    outputs = model(torch.randn(1, 3, 32, 32))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == dict.fromkeys(names[:5], (1, 3))


def test_tasks_may_be_any_sequence(x):
    assert build(("b", "a")).tasks == ["b", "a"]
    assert convert(nn.Sequential(nn.BatchNorm1d(2)), tasks={"b": 1, "a": 2}).tasks == ["b", "a"]


def test_the_list_of_tasks_is_a_copy(net):
    net.tasks.append("fourth")
    assert net.tasks == TASKS


@pytest.mark.parametrize("name", ["fourth", "First", "", "firs"])
def test_an_unknown_task(net, x, name):
    calls = [
        lambda: net(x, task=name),
        lambda: net(x, task=["first", name, "first"]),
        lambda: net.set_task(name),
        lambda: net.using_task(name).__enter__(),
        lambda: net.fold(name),
        lambda: net.remove_task(name),
        lambda: net.add_task("new", like=name),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=rf"Unknown task '{name}'.*'second', 'first', 'third'"):
            call()
    assert net.tasks == TASKS and net.task is None


@pytest.mark.parametrize("tasks", [["first"], ["first"] * 4, torch.tensor([0, 1])])
def test_too_few_or_too_many_tasks_for_the_batch(net, x, tasks):
    with pytest.raises(ValueError, match=f"{len(tasks)} tasks for a batch of 3"):
        net(x, task=tasks)


@pytest.mark.parametrize("row", [-1, 3])
def test_a_row_that_there_is_not(net, x, row):
    with pytest.raises(ValueError, match="for the 3 tasks"):
        net(x, task=torch.tensor([0, row, 1]))


# --- one task ---


def test_setting_a_task(net, x):
    outputs = net(x)
    assert net.task is None
    for task in (*TASKS, "first"):
        net.set_task(task)
        assert net.task == task
        assert torch.equal(net(x), outputs[task])
        assert torch.equal(net(x, task="third"), outputs["third"]), "a name in the call wins"
        assert net.task == task
    net.set_task(None)
    assert net.task is None and list(net(x)) == TASKS


def test_a_block_for_a_task(net, x):
    outputs = net(x)
    net.set_task("third")
    with net.using_task("first"):
        assert torch.equal(net(x), outputs["first"])
        assert torch.equal(net[4](net[3](net[2](net[1](net[0](x))))), outputs["first"])
        with net.using_task("second"):
            assert torch.equal(net(x), outputs["second"])
            assert torch.equal(net(x, task="third"), outputs["third"])
            assert torch.equal(net(x), outputs["second"])
        assert torch.equal(net(x), outputs["first"])
        mixed = net(x, task=["third", "first", "second"])
        assert torch.allclose(
            mixed, torch.stack([outputs[t][i] for i, t in enumerate(["third", "first", "second"])]), atol=1e-6
        )
    assert torch.equal(net(x), outputs["third"])


def test_an_error_in_a_block_ends_it(net, x):
    with pytest.raises(ZeroDivisionError), net.using_task("first"):
        raise ZeroDivisionError
    assert list(net(x)) == TASKS
    with pytest.raises(RuntimeError):
        net(torch.randn(3, 5), task="first")
    assert list(net(x)) == TASKS


def test_two_models_do_not_see_each_other(x):
    one, other = build(), build(["b", "a"])
    expected = one(x)["first"], other(x)["a"]
    with one.using_task("first"):
        assert list(other(x)) == ["b", "a"]
        with other.using_task("a"):
            assert torch.equal(one(x), expected[0]) and torch.equal(other(x), expected[1])


def test_no_task_selected(net, x):
    message = r"'second', 'first', 'third'.*none is selected.*using_task\('second'\)"
    for part in (net[1], net[4]):
        with pytest.raises(RuntimeError, match=message):
            part(torch.randn(3, 8))
    with pytest.raises(RuntimeError, match=r"say which one to fold.*fold\('second'\)"):
        net.fold()
    net.set_task("first")
    assert net[4](torch.randn(3, 8)).shape == (3, 8)
    assert torch.equal(net.fold()(x), net(x))
    net.set_task(None)
    with pytest.raises(RuntimeError, match=message):
        net[1](torch.randn(3, 8))


def test_no_task_selected_in_timm():
    model = timm.create_model("test_resnet_tsbn", tasks=TASKS, num_classes=5).eval()
    x = torch.randn(1, 3, 32, 32)
    calls = {
        "forward_features": lambda: model.forward_features(x),
        "forward_head": lambda: model.forward_head(torch.randn(1, model.num_features, 1, 1)),
        "forward_intermediates": lambda: model.forward_intermediates(x),
        "get_classifier": model.get_classifier,
    }
    for name, call in calls.items():
        with pytest.raises(RuntimeError, match=rf"{name} speaks of one task.*using_task\('second'\)"):
            call()
        with model.using_task("first"):
            call()
        model.set_task("third")
        call()
        model.set_task(None)
    for part in (model.bn1, model.layer1, model.fc):
        with pytest.raises(RuntimeError, match="none is selected"):
            part(torch.randn(1, part.weight.shape[1] if part is model.fc else model.bn1.num_features, 8, 8))


def test_one_task_needs_no_selection(x):
    net = build(["only"])
    assert net.task == "only"
    assert isinstance(net(x), Tensor)
    assert torch.equal(net(x, task="only"), net(x))
    assert net[4](torch.randn(3, 8)).shape == (3, 8)
    assert torch.equal(net.fold()(x), net(x))
    assert torch.equal(net(x, task=["only"] * 3), net(x))


def test_removing_the_task_that_is_set(net, x):
    net.set_task("first")
    net.remove_task("first")
    assert net.task is None
    assert list(net(x)) == ["second", "third"]


# --- threads ---


def in_threads(function, threads: int = 16) -> list:
    """What the function of the thread's number returns, run at once in every thread; an error in one is raised."""
    start = threading.Barrier(threads)

    def wait_and_run(number: int) -> object:
        start.wait(timeout=60)
        return function(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(wait_and_run, range(threads)))


def test_threads_with_tasks_of_their_own(net):
    torch.manual_seed(2)
    xs = torch.randn(16, 3, 4)
    expected = {task: [net(x, task=task) for x in xs] for task in ("first", "third")}
    assert not any(torch.equal(a, b) for a, b in zip(*expected.values(), strict=True))

    @torch.no_grad()
    def work(number: int) -> None:
        task = ("first", "third")[number % 2]
        other = ("first", "third")[1 - number % 2]
        for _ in range(20):
            assert torch.equal(net(xs[number], task=task), expected[task][number])
            with net.using_task(task):
                assert torch.equal(net(xs[number]), expected[task][number])
                assert torch.equal(net(xs[number], task=other), expected[other][number])
            assert torch.equal(net(xs[number])[task], expected[task][number])

    in_threads(work)


def test_a_block_is_of_its_thread_alone(net, x):
    expected = net(x)
    with net.using_task("first"), ThreadPoolExecutor(1) as pool:
        outputs = pool.submit(net, x).result()
    assert {task: torch.equal(output, expected[task]) for task, output in outputs.items()} == dict.fromkeys(TASKS, True)


def test_another_thread_may_not_set_another_task(net, x):
    net.set_task("first")
    with ThreadPoolExecutor(1) as pool:
        for task in ("second", None):
            with pytest.raises(RuntimeError, match="Another thread has set this model's task to 'first'"):
                pool.submit(net.set_task, task).result()
        assert net.task == "first"
        assert torch.equal(pool.submit(net, x).result(), net(x)), "it uses the task that is set"
        assert torch.equal(pool.submit(lambda: net(x, task="second")).result(), net(x, task="second"))
    net.set_task("third")
    assert net.task == "third"


@pytest.fixture
def impatient_threads():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("impatient_threads")
def test_threads_that_set_different_tasks_are_right_or_raise():
    """One sets its task; the others raise, or have set the same one."""
    for _ in range(50):
        selector = TaskSelector(TASKS)
        all_have_set = threading.Barrier(8)

        def work(number: int, selector=selector, all_have_set=all_have_set) -> str | None:
            task = TASKS[number % 3]
            try:
                selector.set(task)
            except RuntimeError:
                task = None
            all_have_set.wait(timeout=60)  # a thread that has ended holds nothing
            return task

        assert {task for task in in_threads(work, 8) if task is not None} == {selector.task}


def test_a_thread_that_has_ended_holds_nothing(net):
    thread = threading.Thread(target=net.set_task, args=("first",))
    thread.start()
    thread.join()
    assert net.task == "first"
    net.set_task("second")
    assert net.task == "second"
