"""One build at a time on a GPU."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from prefect import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL

from tasks.pipeline.device import device_lock, gpu_name

LEASE = 60  # seconds after which the slot of a build that was killed is free again; Prefect's minimum


@contextmanager
def device_slot(device: str) -> Iterator[None]:
    """Hold a GPU: its file lock, which `dvc repro` takes too, and a slot on the Prefect server, which shows who has the GPU and who waits.

    A training survives a server that is away for a while: the file lock still holds.
    """
    name = gpu_name(device)
    with ExitStack() as held:
        if name and PREFECT_API_URL.value():  # nobody looks at a temporary server
            held.enter_context(gpu_slot(name))
        held.enter_context(device_lock(device))
        yield


@contextmanager
def gpu_slot(name: str) -> Iterator[None]:
    """Hold the one slot of a global concurrency limit; create the limit when it is missing."""
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):  # an existing limit stays: 0 keeps builds off this GPU
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
    with concurrency(name, strict=True, lease_duration=LEASE, raise_on_lease_renewal_failure=False):
        yield
