"""Two ways to run the same stages: inline in this process, or as Ray Data actor pools.

Both take rows of the first stage's edge and yield rows of the last stage's edge as they finish,
in any order. Neither knows what a stage does.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from deid_ops.errors import InvariantError, SetupError
from jobs.config import PoolSection, RaySection
from jobs.rows import Row, from_table, to_table
from jobs.stages.stage import Stage, StageActor, StageContext, check_pipeline

#: A local Ray needs this many logical CPUs for one actor of every stage to start.
LOCAL_LOGICAL_CPUS = 8
_KNOCK_S = 15.0
_LOG = logging.getLogger("deid.run")


class Runner(Protocol):
    """Maps rows through stages."""

    name: str

    def map(self, rows: Sequence[Row], stages: Sequence[Stage]) -> Iterator[Row]:
        """Yield one row of the last stage's edge for every row given."""
        ...


class InlineRunner:
    """Runs the stages one row after another in this process, without Ray.

    One network runs at a time, so its threads have the cores to themselves and may spin.
    """

    name = "inline"

    def __init__(self, context: StageContext) -> None:
        self._context = replace(context, config=context.config.with_spinning())
        self._actors: dict[str, StageActor] = {}

    def map(self, rows: Sequence[Row], stages: Sequence[Stage]) -> Iterator[Row]:
        """Yield one row of the last stage's edge for every row given."""
        check_pipeline(stages)
        for row in rows:
            batch = to_table(stages[0].reads, row)
            for stage in stages:
                batch = self._actor(stage)(batch)
            yield from from_table(stages[-1].emits, batch)

    def load(self, stages: Sequence[Stage]) -> None:
        """Load the models of the stages before the first row comes."""
        for stage in stages:
            self._actor(stage)

    def _actor(self, stage: Stage) -> StageActor:
        if stage.name not in self._actors:
            self._actors[stage.name] = StageActor(stage, self._context)
        return self._actors[stage.name]


class RayRunner:
    """Runs each stage as an actor pool; a row is a segment, a block is a row.

    Args:
        context: handed to every actor.
        address: an existing cluster (`auto`, `ray://host:port`); None starts a local one.
    """

    name = "ray"

    def __init__(self, context: StageContext, address: str | None = None) -> None:
        import ray

        self._context = context
        if not ray.is_initialized():
            _start_ray(address)
        _configure(context.config.ray)

    def map(self, rows: Sequence[Row], stages: Sequence[Stage]) -> Iterator[Row]:
        """Yield one row of the last stage's edge for every row given, as they finish.

        Raises:
            InvariantError: Ray gave back another number of rows than it was given.
        """
        check_pipeline(stages)
        if not rows:
            return
        count = 0
        for batch in self._dataset(rows, stages).iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            for row in from_table(stages[-1].emits, batch):
                count += 1
                yield row
        if count != len(rows):
            raise InvariantError(f"{stages[-1].name}: {len(rows)} rows in, {count} rows out")

    def _dataset(self, rows: Sequence[Row], stages: Sequence[Stage]) -> Any:
        import ray

        # One table a row: a block is the unit that Ray retries and spreads over actors. The
        # longest segments go first, so that none of them ends up alone at the end.
        ordered = sorted(rows, key=lambda row: -row["n_frames"])
        dataset = ray.data.from_arrow([to_table(stages[0].reads, row) for row in ordered])
        for stage in stages:
            dataset = map_stage(dataset, stage, self._context)
        return dataset


def map_stage(dataset: Any, stage: Stage, context: StageContext) -> Any:
    """Append one stage to a Ray dataset whose rows are of the stage's edge.

    This is what the job itself uses, and what a user's own pipeline can use.
    """
    import ray

    pool: PoolSection = getattr(context.config.ray, stage.name)
    strategy = ray.data.ActorPoolStrategy(
        min_size=pool.actors,
        max_size=pool.actors,
        max_tasks_in_flight_per_actor=2,
    )
    return dataset.map_batches(
        StageActor,
        fn_constructor_args=(stage, context),
        batch_size=1,
        batch_format="pyarrow",
        compute=strategy,
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
    )


def _start_ray(address: str | None) -> None:
    # Ray's core reports as errors what is none (an actor's arguments in the object store).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if address is None:
        # Without it Ray joins whatever runs on this machine already, and refuses the rest.
        options["address"] = "local"
        options["num_cpus"] = max(os.cpu_count() or 1, LOCAL_LOGICAL_CPUS)
        options["include_dashboard"] = False
    else:
        options["address"] = address
    try:
        _knock(address)
        ray.init(**options)
    except (OSError, RuntimeError, ValueError) as error:
        raise SetupError(
            f"ray: no cluster answers at {address or 'this machine'}: {error}. Start one "
            "(`ray start --head`), correct --ray-address, or leave it out for a local one"
        ) from error
    _LOG.info("ray: %s", address or "local")


def _knock(address: str | None) -> None:
    """Open and close a connection to `host:port`: Ray itself would try for many minutes.

    Raises:
        OSError: nothing answers there.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()


def _configure(section: RaySection) -> None:
    import ray.data  # sets up its logger

    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.ERROR)  # the job reports progress itself; the file has all
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = False
    context.max_errored_blocks = 0  # a lost row must fail the run
    context.enable_progress_bars = False  # the job prints its own, with an ETA
    context.actor_init_retry_on_errors = True
    context.execution_no_progress_timeout_s = section.no_progress_timeout_s
