"""Where a block that selects a task holds: threads, asyncio tasks, generators, replicas."""

import asyncio
import contextlib
import contextvars
import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from tsbn_hub.norms import TaskModule, convert
from tsbn_hub.norms.selection import Selection

from .test_selection import TASKS, build


@pytest.fixture
def net() -> TaskModule:
    return build()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


# --- generators ---


def held_by(net, x, task):
    with net.using_task(task):
        while True:
            yield net(x)


def test_a_generator_may_not_hold_a_block(net, x):
    with pytest.raises(RuntimeError, match=r"in the generator held_by: .*model\(x, task=…\)"):
        next(held_by(net, x, "first"))
    assert net.task is None and list(net(x)) == TASKS


def test_nor_may_an_asynchronous_generator(net, x):
    async def held():
        with net.using_task("first"):
            yield net(x)

    async def main():
        async for _ in held():
            pass

    with pytest.raises(RuntimeError, match="in the generator test_nor_may"):
        asyncio.run(main())


def test_nor_may_it_by_way_of_contextlib(net, x):
    @contextlib.contextmanager
    def block():
        with net.using_task("first"):
            yield

    def by_a_manager():
        with block():
            yield

    def by_a_stack():
        with contextlib.ExitStack() as stack:
            stack.enter_context(net.using_task("first"))
            yield

    for generator in (by_a_manager(), by_a_stack()):
        with pytest.raises(RuntimeError, match="in the generator"):
            next(generator)
    assert net.task is None


def test_a_generator_that_is_a_context_manager_may(net, x):
    expected = net(x)

    @contextlib.contextmanager
    def block(task):
        with net.using_task(task):
            yield

    @contextlib.asynccontextmanager
    async def asynchronous_block(task):
        with net.using_task(task):
            yield

    async def main():
        async with asynchronous_block("third"):
            return net(x)

    with block("first"), contextlib.ExitStack() as stack:
        assert torch.equal(net(x), expected["first"])
        stack.enter_context(block("second"))
        assert torch.equal(net(x), expected["second"])
    assert torch.equal(asyncio.run(main()), expected["third"])

    def asks_within_a_function():
        def one():
            with net.using_task("first"):
                return net(x)

        yield one()

    assert torch.equal(next(asks_within_a_function()), expected["first"])
    assert net.task is None


def test_a_block_decorates_what_runs_at_once(net, x):
    expected = net(x)
    assert torch.equal(net.using_task("first")(net)(x), expected["first"])

    @net.using_task("first")
    def generator():
        yield net(x)

    @net.using_task("first")
    async def coroutine():
        return net(x)

    for function in (generator, coroutine):
        with pytest.raises(RuntimeError, match="decorates a generator or coroutine"):
            function()


def test_blocks_that_are_not_nested(net, x):
    expected = net(x)
    one, other = net.using_task("first"), net.using_task("third")
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert torch.equal(net(x), expected["third"])
    other.__exit__(None, None, None)
    assert net.task is None and list(net(x)) == TASKS


def test_a_forward_that_runs_later_is_not_converted():
    class Later(nn.Sequential):
        def forward(self, x):
            yield super().forward(x)

    with pytest.raises(TypeError, match="The forward of Later is a generator"):
        convert(Later(nn.BatchNorm1d(4)), TASKS)


# --- asyncio ---


def test_a_block_is_of_its_asyncio_task(net, x):
    expected = net(x)

    async def work(task):
        with net.using_task(task):
            for _ in range(3):
                await asyncio.sleep(0)
                assert torch.equal(net(x), expected[task])
        await asyncio.sleep(0)
        assert list(net(x)) == TASKS

    async def main():
        await asyncio.gather(*map(work, TASKS * 2))

    asyncio.run(main())


def test_another_asyncio_task_may_not_set_another_task(net, x):
    expected = net(x)
    refused = []

    async def work(task):
        try:
            net.set_task(task)
        except RuntimeError as error:
            refused.append(str(error))
            return
        for _ in range(3):
            await asyncio.sleep(0)
            assert torch.equal(net(x), expected[task])

    async def main():
        await asyncio.gather(*map(work, TASKS))

    asyncio.run(main())
    assert len(refused) == 2 and "Another asyncio task has set this model's task to 'second'" in refused[0]
    net.set_task("third")
    assert torch.equal(net(x), expected["third"]), "an asyncio task that has ended holds nothing"


def test_what_one_asyncio_task_has_set_is_not_another_s(net, x):
    has_set, done = [], []

    async def sets():
        net.set_task("first")
        has_set.append(True)
        while not done:
            await asyncio.sleep(0)
        return net(x)

    async def runs():
        while not has_set:
            await asyncio.sleep(0)
        try:
            with pytest.raises(RuntimeError, match="Another asyncio task has set this model's task to 'first'"):
                net(x)
            return net(x, task="third")
        finally:
            done.append(True)

    async def main():
        return await asyncio.gather(sets(), runs())

    outputs = asyncio.run(main())
    for output, task in zip(outputs, ("first", "third"), strict=True):
        assert torch.equal(output, net(x, task=task))


def test_what_was_set_before_the_loop_is_every_asyncio_task_s(net, x):
    net.set_task("first")

    async def main():
        async def run():
            return net(x)

        return await asyncio.gather(run(), run())

    assert all(torch.equal(output, net(x)) for output in asyncio.run(main()))


# --- threads ---


def test_a_context_is_carried_into_a_pool(net, x):
    expected = net(x)
    with net.using_task("first"), ThreadPoolExecutor(1) as pool:
        assert torch.equal(pool.submit(contextvars.copy_context().run, net, x).result(), expected["first"])
        assert list(pool.submit(net, x).result()) == TASKS


def replica_of(module: nn.Module) -> nn.Module:
    """As torch.nn.parallel.replicate makes them, on the same device."""
    replicas = {part: part._replicate_for_data_parallel() for part in module.modules()}
    for part, replica in replicas.items():
        for name, child in part._modules.items():
            setattr(replica, name, replicas[child])
        for name, tensor in [*part._parameters.items(), *part._buffers.items()]:
            setattr(replica, name, tensor)
    return replicas[module]


def in_a_thread(function, *args, **kwargs):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **kwargs).result()


def test_replicas_run_for_the_callers_task(net, x):
    expected = net(x)
    hidden = torch.randn(3, 8)
    net.set_task("second")
    with net.using_task("first"):
        part = net[4](hidden)
        replica, replicated_part = replica_of(net), replica_of(net[4])
        with (
            pytest.raises(RuntimeError, match="cannot be divided"),
            net.task_selector.run(Selection(chunks=((0, 2), (1, 1)))),
        ):
            replica_of(net)
    assert torch.equal(in_a_thread(replica, x), expected["first"])
    assert torch.equal(in_a_thread(replica, x, task="third"), expected["third"])
    assert torch.equal(in_a_thread(replicated_part, hidden), part)
    assert torch.equal(in_a_thread(replica_of(net), x), expected["second"])
    net.set_task(None)
    assert all(torch.equal(expected[task], output) for task, output in in_a_thread(replica_of(net), x).items())


# --- what changes within a block ---


def test_a_task_that_is_removed_within_a_block(net, x):
    expected = net(x, task="third")
    with net.using_task("third"):
        net.remove_task("second")
        with pytest.raises(RuntimeError, match=r"tasks \['second', 'first', 'third'\].*has \['first', 'third'\] now"):
            net(x)
    assert torch.equal(net(x, task="third"), expected)
    with net.using_task("third"):
        net.add_task("fourth")
        assert torch.equal(net(x), expected)


def test_a_model_of_inference_mode_has_its_task_set_outside(x):
    with torch.inference_mode():
        net = build()
        net.set_task("first")
    with torch.no_grad():
        expected = net(x)
        net.set_task("third")
        assert net.task == "third" and not torch.equal(net(x), expected)


def test_threads_are_told_apart_after_a_copy(net, x):
    """A copy is nobody's yet, though its original was set in a thread that still lives."""
    go_on, has_set = threading.Event(), threading.Event()

    def work():
        net.set_task("first")
        has_set.set()
        go_on.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    has_set.wait(10)
    copied = copy.deepcopy(net)
    assert copied.task == "first"
    copied.set_task("third")
    go_on.set()
    thread.join()
    assert net.task == "first" and copied.task == "third"
