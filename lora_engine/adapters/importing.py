"""Adding an adapter that was made elsewhere: a folder, a zip archive, or an id of the model hub.

Its known files are copied beside their place, the adapter is checked there (`whole`), and only
then the folder gets its name in `data_dir/adapters`: what is listed was sound when it came. Of a
hub's repository the adapter's own files are fetched and nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.access import keep_owner, typed_path
from lora_engine.adapters.config import CONFIG_FILE, WEIGHTS_FILE, read_provenance
from lora_engine.adapters.kinds import OtherConfig, read_any_config
from lora_engine.adapters.names import OF_ADAPTERS, name_from, named_folder
from lora_engine.adapters.other_forms import file_instead, folder_without, pickled_weights
from lora_engine.adapters.other_weights import read_other
from lora_engine.adapters.summary import is_bundled
from lora_engine.adapters.whole import read_whole, refuse_non_finite
from lora_engine.adapters.zip_import import DISK_ERRORS, FILES, MAX_BYTES, unpack_adapter
from lora_engine.base_models import HUB_ID
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import Conflict, EngineError, InvalidInput, NotFound
from lora_engine.files import new_folder
from lora_engine.foreign_folder import refuse_foreign_files
from lora_engine.language import tr
from lora_engine.quotas import ADAPTERS, refuse_more, room_for, tree_bytes
from lora_engine.settings import Settings

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def add_adapter(
    source: str, settings: Settings, name: str = "", stop: StopSignal = NEVER_STOPPED
) -> Path:
    """Add what a person named: a folder, a zip, or a hub id where there is no such folder.

    name: what it is called here; from the source where it is empty. Returns the new folder.
    Raises EngineError, and leaves nothing, where it is no adapter that can be applied, and Stopped
    where it was stopped before it got its name.
    """
    path = typed_path(source, settings)
    if source and path.is_dir():
        return add_folder(path, settings, name, stop)
    if source and path.is_file():
        if path.suffix.lower() != ".zip":
            raise file_instead(path)
        return add_zip(path, path.name, settings, name, stop)
    if HUB_ID.match(source):
        return add_from_hub(source, settings, name, stop=stop)
    raise NotFound(
        tr(
            "{source} is no folder, no zip file and no hub id (org/name).",
            source=f"{source[:200]!r}",
        ),
        tr("Give the folder or the zip of a PEFT adapter, or its id on the hub."),
    )


def add_folder(
    source: Path, settings: Settings, name: str = "", stop: StopSignal = NEVER_STOPPED
) -> Path:
    """Copy the adapter in a folder. Raises EngineError where it is none that can be applied."""
    target = _target(name or name_from(_own_name(source.resolve())), settings)

    def copy(folder: Path) -> None:
        refuse_foreign_files(source)
        for required in (CONFIG_FILE, WEIGHTS_FILE):
            if not (source / required).is_file():
                raise folder_without(required, source)
        total = sum((source / file).stat().st_size for file in FILES if (source / file).is_file())
        if total > MAX_BYTES:
            raise _too_large(str(source), total)
        for file in FILES:
            if (source / file).is_file():
                shutil.copyfile(source / file, folder / file)

    return _added(target, copy, settings, stop)


def add_zip(
    path: Path, file_name: str, settings: Settings, name: str = "", stop: StopSignal = NEVER_STOPPED
) -> Path:
    """Unpack and add the adapter in a zip; `file_name` is what the person's file is called."""
    target = _target(name or name_from(Path(file_name.replace("\\", "/")).stem), settings)
    return _added(target, lambda folder: unpack_adapter(path, file_name, folder), settings, stop)


def add_from_hub(
    hub_id: str,
    settings: Settings,
    name: str = "",
    api: HfApi | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> Path:
    """Fetch and add an adapter of the model hub. `api` is another hub than the usual one.

    Raises NotFound where the hub does not know it or cannot be reached; EngineError where it is no
    adapter that can be applied.
    """
    if not HUB_ID.match(hub_id):
        raise NotFound(
            tr("{hub_id} is no hub id.", hub_id=f"{hub_id[:200]!r}"), tr("A hub id is org/name.")
        )
    target = _target(name or name_from(hub_id.rpartition("/")[2]), settings)
    return _added(target, lambda folder: _fetch(hub_id, folder, api), settings, stop)


def refuse_others(folder: Path, settings: Settings) -> None:
    """Raises Conflict for an adapter that is not in `data_dir/adapters`, such as a run's."""
    if is_bundled(folder):
        raise Conflict(
            tr("{name} comes with Rankscope, so it is not deleted here.", name=folder.name),
            tr("Leave it: it stands below your own adapters."),
        )
    if not is_added(folder, settings):
        raise Conflict(
            tr("{folder} was not added here, so it is not deleted here.", folder=folder),
            tr("Delete its run on the Runs page, or the folder yourself."),
        )


def is_added(folder: Path, settings: Settings) -> bool:
    """Whether it is one of the folders in `data_dir/adapters`; never a link to another."""
    parent = (settings.data_dir / "adapters").resolve()
    return folder.parent.resolve() == parent and folder.is_dir() and not folder.is_symlink()


def _added(
    target: Path, fill: Callable[[Path], None], settings: Settings, stop: StopSignal
) -> Path:
    """`target`, filled beside its place, checked there, and named in one step.

    Raises QuotaExceeded where there is no room for it.
    """
    refuse_more(ADAPTERS, 0, target.name, settings)  # before it is fetched or unpacked
    try:
        with ExitStack() as room, new_folder(target) as folder:
            fill(folder)
            _refuse_unusable(folder, target)
            stop.raise_if_set(tr("adding {name}", name=target.name))
            room.enter_context(room_for(ADAPTERS, tree_bytes(folder), target.name, settings))
            keep_owner(target)
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        raise EngineError(
            tr(
                "The adapter cannot be written to {target}: {strerror}.",
                target=target,
                strerror=error.strerror or error,
            ),
            tr("Free space on the disk, or set LORA_DATA_DIR to another; nothing was kept."),
        ) from error
    return target


def _refuse_unusable(folder: Path, target: Path) -> None:
    """Raises EngineError for an adapter that is not whole, not finite or cannot be applied."""
    try:
        config = read_any_config(folder)
        if isinstance(config, OtherConfig):
            refuse_non_finite(read_other(folder, config).file)
        else:
            refuse_non_finite(read_whole(folder, config).file)
        read_provenance(folder)
    except InvalidInput as error:
        what = f"{target.name}/{CONFIG_FILE}"
        raise InvalidInput(what, error.problems, error.remedy) from None
    except EngineError as error:
        raise type(error)(_named(error.problem, folder, target), error.remedy) from None


def _named(problem: str, folder: Path, target: Path) -> str:
    """The problem with the adapter's name in place of the folder that is gone by then."""
    return problem.replace(str(folder), target.name).replace(folder.name, target.name)


def _target(name: str, settings: Settings) -> Path:
    target = named_folder(settings.data_dir / "adapters", name, reserved=OF_ADAPTERS)
    if target.exists() or target.is_symlink():
        raise _taken(target)
    return target


def _taken(target: Path) -> Conflict:
    return Conflict(
        tr("An adapter named {name} is here already.", name=f"{target.name!r}"),
        tr("Give another name, or delete that one first."),
    )


def _own_name(folder: Path) -> str:
    return folder.parent.name if folder.name == "adapter" else folder.name


def _too_large(what: str, size: int) -> EngineError:
    return EngineError(
        tr(
            "The adapter in {what} has {size} bytes; at most {max_bytes} are taken.",
            what=what,
            size=f"{size:,}",
            max_bytes=f"{MAX_BYTES:,}",
        ),
        tr("Resize it to a smaller rank first."),
    )


def _fetch(hub_id: str, folder: Path, api: HfApi | None) -> None:
    """The adapter's files of a repository, of the revision that was looked at."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,  # of its HTTP client: no connection, no answer in time, a status
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    api = api or HfApi()
    try:
        info = api.model_info(hub_id, files_metadata=True, timeout=30)
        sizes = {one.rfilename: one.size or 0 for one in info.siblings or []}
        _check_listed(hub_id, sizes)
        api.snapshot_download(
            hub_id, revision=info.sha, local_dir=folder,
            allow_patterns=[file for file in FILES if file in sizes],
        )  # fmt: skip
        _check_listed(hub_id, {file.name: file.stat().st_size for file in folder.glob("*.*")})
    except GatedRepoError:
        reason = tr("the hub gives it only to those who accepted its terms")
    except (RepositoryNotFoundError, HFValidationError):
        reason = tr("the hub knows no such model")
    except OfflineModeIsEnabled:
        reason = tr("the hub cannot be reached, because HF_HUB_OFFLINE is set")
    except (HTTPError, OSError) as error:
        if getattr(error, "errno", None) in DISK_ERRORS:
            raise
        reason = tr("the hub cannot be reached")
    else:
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        return
    raise NotFound(
        tr(
            "The adapter {hub_id} is not on this machine, and {reason}.",
            hub_id=f"{hub_id!r}",
            reason=reason,
        ),
        tr("Check the name and the network, or give the adapter's folder or zip."),
    )


def _check_listed(hub_id: str, sizes: dict[str, int]) -> None:
    """Raises EngineError for a repository without an adapter's two files, or one too large."""
    missing = [file for file in (CONFIG_FILE, WEIGHTS_FILE) if file not in sizes]
    if WEIGHTS_FILE in missing and "adapter_model.bin" in sizes:
        raise pickled_weights(hub_id, WEIGHTS_FILE, "adapter_model.bin")
    if missing:
        raise NotFound(
            tr(
                "{hub_id} is no adapter: its repository has no {missing}.",
                hub_id=hub_id,
                missing=", ".join(missing),
            ),
            tr("Give the id of a PEFT adapter; a whole model is given as the base model."),
        )
    total = sum(sizes.get(file, 0) for file in FILES)
    if total > MAX_BYTES:
        raise _too_large(hub_id, total)
