"""The state of a training run: a model and its optimizer, saved and restored over all ranks.

Through ``torch.distributed.checkpoint``: every rank writes its own shards, of what all ranks hold
alike (``ddp``) a share, and reads what it needs, whoever wrote it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from ..configs import load_model
from ..errors import InfraError, UsageError
from ..host.cores import memory_available
from ..kernels.model_costs import ModelShape, parameters
from ..units import format_size
from . import bits
from .base import Benchmark, Context, Unmeasurable
from .runner import all_or_none
from .scratch import is_url

if TYPE_CHECKING:
    import torch

DataParallel = Literal["ddp", "fsdp"]
WORDS = 3
"""fp32 numbers for each weight: itself and AdamW's two moments."""


def state_bytes(model: str) -> int:
    """Bytes of a model's weights and optimizer state in fp32, once, however many ranks hold it."""
    return 4 * WORDS * parameters(ModelShape.of(load_model(model)))


class Saved(Benchmark):
    """What saves the state of a training, spread over a group, at a path."""

    alone = True
    fitting = {"model": ("small", "tiny")}

    model: str = "tiny"
    """Whose state it is: a file of ``configs/models``, or its slice, as ``llama-8b@4``."""
    dp: DataParallel = "ddp"
    """``ddp``: every rank holds all of the state; ``fsdp``: they share it."""
    path: str = ""
    """A directory that all ranks of the group see, in some benchmarks a URL that fsspec knows;
    empty: the folder for temporary files, which may lie in memory."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        if load_model(self.model).experts is not None:
            raise UsageError(f"{self.name}: {self.model} is a mixture of experts, take a dense one")

    def clock(self) -> Literal["device", "host"]:
        """A save ends on the host."""
        return "host"

    def setup(self, context: Context) -> None:
        """Raise `Unmeasurable` for a group across kinds of chip."""
        if context.through_host:
            raise Unmeasurable("a model over several kinds of chip has no library to meet in")
        self.context = context


def together(context: Context) -> float:
    """Now (seconds of `time.perf_counter`), when all ranks of the group are here."""
    if context.size > 1:
        import torch.distributed as dist

        dist.barrier(group=context.control)
    return perf_counter()


class StateError(InfraError):
    """A checkpoint that could not be written or read; the first cause, in a line."""


class Writing:
    """A checkpoint that is being written beside the training."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def done(self) -> bool:
        """Whether it is on the storage, or has failed."""
        return self._future.done()

    def wait(self) -> None:
        """Return when it is on the storage. Raises `StateError`."""
        with _in_a_line():
            self._future.result()


class Training:
    """A model and AdamW on the ranks of a group.

    Args:
        context: The group.
        model: Name of a configuration.
        dp: ``ddp``: every rank holds all; ``fsdp``: a share of every tensor (FSDP2).
        rate: Learning rate.

    Raises `Unmeasurable`, on every rank, where one cannot hold its part and its gradients.
    """

    def __init__(self, context: Context, model: str, dp: DataParallel, rate: float = 1e-3) -> None:
        import torch

        from .model import Decoder

        self.context, self.dp = context, dp
        self.shape = ModelShape.of(load_model(model))
        # Told to all before a mesh is made: who stays away would be waited for.
        all_or_none(context, self._too_large(model))
        torch.manual_seed(context.seed)
        with context.device:
            net: Any = Decoder(self.shape)
        if context.size > 1 and dp == "fsdp":
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            mesh = init_device_mesh(context.device.type, (context.size,))
            for block in net.blocks:
                fully_shard(block, mesh=mesh)
            fully_shard(net, mesh=mesh)
        self.plain = net
        if context.size > 1 and dp == "ddp":
            from .parallel.trainer import data_parallel

            net = data_parallel(net, context.device)
        self.net = net
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=rate)

    def _too_large(self, model: str) -> str:
        context, whole = self.context, state_bytes(model) * (WORDS + 1) // WORDS
        # Sharding begins when the model is there.
        need = whole if self.dp == "ddp" else max(whole // context.size, whole // (WORDS + 1))
        room = context.memory or memory_available()
        if need > room:
            return (
                f"{model} with its optimizer needs {format_size(need)} on a rank of "
                f"{self.dp}, whose device has {format_size(room)}"
            )
        return ""

    def fill(self) -> None:
        """Give the optimizer the state that it has after a step, without computing one."""
        import torch

        for weight in self.net.parameters():
            # Random as the weights are: equal numbers could be stored as one.
            weight.grad = weight.detach().clone()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.context.backend.synchronize(self.context.device)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: nested, its tensors are those that are trained."""
        from torch.distributed.checkpoint.state_dict import get_state_dict

        model, optimizer = get_state_dict(self.plain, self.optimizer)
        return {"model": model, "optimizer": optimizer}

    def save(self, path: str, *, threads: int = 1) -> None:
        """Write a checkpoint to a directory or URL; returns when it is on the storage."""
        from torch.distributed.checkpoint.state_dict_saver import save

        with _in_a_line():
            save(
                self.state(),
                storage_writer=_writer(path, threads),
                process_group=self.context.control,
            )

    def save_beside(self, path: str, *, threads: int = 1) -> Writing:
        """Begin to write a checkpoint; returns when the state is copied and may change again.

        The ranks meet in their control group meanwhile, in which nothing else may be exchanged.
        """
        from torch.distributed.checkpoint.state_dict_saver import async_save

        with _in_a_line():
            begun: Any = async_save(
                self.state(),
                storage_writer=_writer(path, threads),
                process_group=self.context.control,
            )
        return Writing(getattr(begun, "upload_completion", begun))

    def restore(self, path: str) -> None:
        """Read a checkpoint into model and optimizer, which must have state (`fill`).

        Raises `StateError` for one that is damaged, on every rank.
        """
        from torch.distributed.checkpoint.state_dict import set_state_dict
        from torch.distributed.checkpoint.state_dict_loader import load

        state = self.state()
        with _in_a_line():
            load(state, storage_reader=_reader(path), process_group=self.context.control)
        set_state_dict(
            self.plain,
            self.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """This rank's part of every tensor of the state, by name."""
        return dict(_leaves(self.state(), ""))

    def digests(self) -> dict[str, int]:
        """48 bits of SHA-256 of every tensor's bits on this rank, by name."""
        return {name: bits.digest({name: one}) for name, one in self.tensors().items()}

    def spoil(self) -> None:
        """Flip every bit of the state, so that only a restore can make it right again."""
        for one in self.tensors().values():
            bits.whole(one).bitwise_not_()


def _leaves(state: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    if isinstance(state, Mapping):
        for key, value in state.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    elif isinstance(state, torch.Tensor):
        local = getattr(state, "to_local", None)  # of a tensor that is spread over ranks
        yield name, local() if local is not None else state


def _writer(path: str, threads: int) -> Any:
    from torch.distributed.checkpoint.filesystem import FileSystemWriter

    if not is_url(path):
        return FileSystemWriter(path, thread_count=threads)
    from torch.distributed.checkpoint._fsspec_filesystem import FsspecWriter

    # What has no file descriptor would be made durable by putting the whole host's pages on disk;
    # an object is durable when it is closed.
    local = path.startswith(("file://", "local://"))
    return FsspecWriter(path, thread_count=threads, sync_files=local)


def _reader(path: str) -> Any:
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    if not is_url(path):
        return FileSystemReader(path)
    from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader

    return FsspecReader(path)


@contextlib.contextmanager
def _in_a_line() -> Iterator[None]:
    """Raise `StateError` for everything that pickle, zip files and storage may raise.

    What `torch.distributed.checkpoint` raises holds every rank's trace, and is no `Exception`.
    """
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except (Exception, CheckpointException) as error:
        inner: BaseException = error
        failures = getattr(error, "failures", None)
        if failures:
            rank, (inner, _) = min(failures.items())
            where = f"rank {rank}: "
        else:
            where = ""
        text = " ".join(str(inner).split())[:200] or "it ends too early"
        if isinstance(inner, OSError) and inner.strerror:  # whose file has a name of ours
            raise StateError(f"{where}{inner.strerror}") from error
        if "metadata is None" in text:  # PyTorch asserts that it is there
            raise StateError(f"{where}its .metadata is missing or cut short") from error
        if "unexpected pos" in text:  # PyTorch closes a file of which not all was written
            raise StateError(
                f"{where}the storage took only a part of a file; it may be full"
            ) from error
        raise StateError(f"{where}{type(inner).__name__}: {text}") from error
