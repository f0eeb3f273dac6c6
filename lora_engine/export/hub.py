"""Pushing an export to the model hub: all of it in one commit, or nothing.

The token is huggingface_hub's own (HF_TOKEN, else the login); it is never read, printed or logged
here. What is pushed holds no path of this machine: the JSON files are cleaned on the way
(`public_names`), the folder stays as it is. Knows no form and writes no card.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.adapter_operations.written_adapter import PROVENANCE_FILE
from lora_engine.adapters.config import CONFIG_FILE
from lora_engine.base_models import HUB_ID
from lora_engine.errors import Conflict, EngineError, NotFound
from lora_engine.export.public_names import public_document, public_text
from lora_engine.files import read_json_object
from lora_engine.language import tr, translatable

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo
    from huggingface_hub.errors import HfHubHTTPError

HUB_OWN = (".gitattributes",)  # the hub makes it with the repository
PATH_FIELDS: Mapping[str, Sequence[str]] = {
    CONFIG_FILE: ("base_model_name_or_path", "corda_config"),
    "config.json": ("_name_or_path", "name_or_path"),
    "tokenizer_config.json": ("name_or_path", "tokenizer_file", "special_tokens_map_file"),
}
"""By file, the fields that name files; the others (patterns, tokens, templates) stay untouched."""

MAX_DOCUMENT = 16_000_000  # bytes; a tokenizer's configuration may list all added tokens
LOG_IN = translatable("Set HF_TOKEN to a token with write access, or log in with: hf auth login")


@dataclass(frozen=True)
class HubTarget:
    """Where to push to: a repository's id, OWNER/NAME, and whether a new one is private."""

    id: str
    private: bool = True


@dataclass(frozen=True)
class Pushed:
    """A whole export on the hub. revision: the commit that holds all of its files."""

    id: str
    url: str
    revision: str
    private: bool
    files: int
    bytes: int


def check_target(target: HubTarget, overwrite: bool) -> None:
    """Whether the push can be expected to succeed, asked before anything is written.

    Raises EngineError without a token, for one that the hub does not know or an owner that is not
    the token's, and where the hub cannot be reached; Conflict for a repository that holds files and
    is not to be replaced, or that is public where a private one is asked for.
    """
    from huggingface_hub import HfApi

    if not HUB_ID.match(target.id):
        raise EngineError(
            tr("{id} is no name of a repository.", id=f"{target.id[:200]!r}"),
            tr(
                "Give OWNER/NAME: your name on the hub or an organization's, and a name of "
                "letters, digits, -, _ and dots."
            ),
        )
    api = HfApi()
    with _in_words(target):
        who = api.whoami()
    owner = target.id.partition("/")[0]
    owners = [who.get("name"), *(one.get("name") for one in who.get("orgs") or [])]
    if owner.lower() not in (one.lower() for one in owners if one):
        raise EngineError(
            tr(
                "The token is of {filter}, who is not {owner}.",
                filter=", ".join(filter(None, owners)),
                owner=f"{owner!r}",
            ),
            tr("Push to one of them, or take a token of {owner}'s.", owner=owner),
        )
    found = _repository(api, target)
    if found is not None:
        _refuse_other(found, target, overwrite)


def push(folder: Path, target: HubTarget, overwrite: bool = False) -> Pushed:
    """Push every file below `folder`, in one commit; files of an earlier push that are not in it
    are deleted by the same commit.

    Raises as `check_target`; Conflict where the repository changed meanwhile; EngineError where the
    hub does not take it. The repository then has no new commit.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _in_words(target):
        api.create_repo(target.id, private=target.private, exist_ok=True)
    before = _repository(api, target)
    if before is None:
        raise NotFound(
            tr("The hub made {id} and does not show it to this token.", id=target.id),
            tr("Take a token that may read and write it."),
        )
    _refuse_other(before, target, overwrite)
    files = dict(_files(folder))
    with _in_words(target):
        commit = api.create_commit(
            target.id,
            _operations(files, before),
            commit_message="Export from Rankscope",
            parent_commit=before.sha,
        )
        after = api.model_info(target.id, revision=commit.oid, files_metadata=True)
    sizes = {one.rfilename: one.size for one in after.siblings or []}
    missing = [name for name, content in files.items() if sizes.get(name) != _size(content)]
    if missing:
        raise EngineError(
            tr(
                "{id} holds {missing} in another size than was pushed, at {oid}.",
                id=target.id,
                missing=missing[0],
                oid=commit.oid,
            ),
            tr("Push it again; do not load that revision."),
        )
    return Pushed(
        id=target.id,
        url=f"{api.endpoint}/{target.id}",
        revision=commit.oid,
        private=bool(after.private),
        files=len(files),
        bytes=sum(map(_size, files.values())),
    )


def _repository(api: HfApi, target: HubTarget) -> ModelInfo | None:
    """What the hub has under this name; None for nothing that the token may see."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with _in_words(target):
        try:
            return api.model_info(target.id)
        except RepositoryNotFoundError:
            return None


def _refuse_other(found: ModelInfo, target: HubTarget, overwrite: bool) -> None:
    names = [one.rfilename for one in found.siblings or [] if one.rfilename not in HUB_OWN]
    if names and not overwrite:
        raise Conflict(
            tr(
                "{id} is on the hub already, with {names} and {count} other files.",
                id=target.id,
                names=names[0],
                count=len(names) - 1,
            ),
            tr("Choose another name, or say that it is to be replaced."),
        )
    if target.private and not found.private:
        raise Conflict(
            tr("{id} is public on the hub, and a private repository was asked for.", id=target.id),
            tr(
                "Make it private in its settings, choose another name, or say that it is to "
                "be public."
            ),
        )


def _files(folder: Path) -> Iterator[tuple[str, Path | bytes]]:
    """By the name in the repository: the file, or the content of a document that was cleaned."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(folder).as_posix(), _public_content(path)


def _public_content(path: Path) -> Path | bytes:
    """The file as it is, or its content where a path or a secret was taken out."""
    if path.name != PROVENANCE_FILE and path.name not in PATH_FIELDS:
        return path
    document = read_json_object(path, MAX_DOCUMENT)
    fields = PATH_FIELDS.get(path.name, tuple(document))
    public = {
        key: public_document(value) if key in fields else value for key, value in document.items()
    }
    if public == document:
        return path
    return json.dumps(public, indent=2, ensure_ascii=False).encode()


def _operations(
    files: Mapping[str, Path | bytes], before: ModelInfo
) -> list[CommitOperationAdd | CommitOperationDelete]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    old = {one.rfilename for one in before.siblings or []} - set(files) - set(HUB_OWN)
    return [
        *(CommitOperationDelete(name) for name in sorted(old)),
        *(CommitOperationAdd(name, content) for name, content in files.items()),
    ]


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


@contextmanager
def _in_words(target: HubTarget) -> Iterator[None]:
    """What the hub and its client raise, as an EngineError for the person."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HTTPError,  # of its HTTP client: no connection, no answer in time
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except LocalTokenNotFoundError:
        raise EngineError(
            tr("No token of the hub is known here."), tr("{log_in}.", log_in=tr(LOG_IN))
        ) from None
    except OfflineModeIsEnabled:
        raise EngineError(
            tr("HF_HUB_OFFLINE is set, so nothing can be pushed."), tr("Unset it and push again.")
        ) from None
    except HfHubHTTPError as error:
        raise _refusal(error, target) from None
    except (HTTPError, OSError) as error:
        raise EngineError(
            tr(
                "The hub cannot be reached: {public_text}.",
                public_text=public_text(str(error))[:200],
            ),
            tr("Check the network, and HF_ENDPOINT where it is set; then push again."),
        ) from None
    except (ValueError, RuntimeError) as error:  # its client, of a card or an upload that failed
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise _refusal(cause, target) from None
        said = public_text(str(cause or error))[:300]
        raise EngineError(
            tr("The hub did not take the push to {id}: {said}", id=target.id, said=said),
            tr("Mend that and push again."),
        ) from None


def _refusal(error: HfHubHTTPError, target: HubTarget) -> EngineError:
    status = error.response.status_code
    said = public_text(error.server_message or "")[:200].strip()
    words = tr(" It says: {said}", said=said) if said else ""
    if status == 401:
        return EngineError(
            tr("The hub does not know the token.{words}", words=words),
            tr("{log_in}.", log_in=tr(LOG_IN)),
        )
    if status == 403:
        return EngineError(
            tr("The token may not write to {id}.{words}", id=target.id, words=words),
            tr("{log_in}.", log_in=tr(LOG_IN)),
        )
    if status in (409, 412):
        return Conflict(
            tr("{id} was changed by somebody else meanwhile.{words}", id=target.id, words=words),
            tr("Push again."),
        )
    return EngineError(
        tr(
            "The hub refused the push to {id} with status {status}.{words}",
            id=target.id,
            status=status,
            words=words,
        ),
        tr("Try again later.")
        if status >= 500 or status == 429
        else tr("Mend that and push again."),
    )
