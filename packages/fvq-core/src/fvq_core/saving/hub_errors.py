"""What the Hugging Face hub's errors mean to a user: one line each, with what to do."""

from __future__ import annotations

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

LOG_IN = 'log in with `hf auth login`, or pass a token'
# What stops a transfer: answers of the hub and broken connections (HTTPError), files and offline mode (OSError).
FAILURES = (HTTPError, OSError)


def fetch_failure(error: Exception, revision: str, cache: str, offline: bool) -> str:
    """Why a repository could not be read and what to do, in one line."""
    if isinstance(error, GatedRepoError):
        return f'the hub keeps it behind terms: accept them on its page, then {LOG_IN}.'
    if isinstance(error, RepositoryNotFoundError):
        return f'the hub has none of that name, or a private one: check the spelling, or {LOG_IN}.'
    if isinstance(error, RevisionNotFoundError):
        return f"the repository on the hub has no revision '{revision}': check its branches and tags."
    if isinstance(error, LocalEntryNotFoundError) and offline:
        return f"the cache {cache} has no whole copy of revision '{revision}': load it once without offline mode."
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f'the hub could not be asked and the cache {cache} has no copy: try again with a network ({brief(error)}).'
        )
    return f'reading it from the hub failed: {refusal(error)}'


def push_failure(error: Exception, branch: str | None) -> str:
    """Why a push failed and what to do, in one line."""
    if isinstance(error, OfflineModeIsEnabled):
        return 'offline mode is on; unset HF_HUB_OFFLINE.'
    if isinstance(error, RevisionNotFoundError):
        return f"the repository has no branch '{branch}'; make it on the hub first."
    if isinstance(error, RepositoryNotFoundError):
        return f'the hub has none of that name that you may write to; {LOG_IN} with write access.'
    if isinstance(error, HTTPError) and not isinstance(error, HfHubHTTPError):
        return f'the hub could not be reached ({brief(error)}); try again with a network.'
    return refusal(error)


def refusal(error: Exception) -> str:
    """The hub's answer, with what to do where access is the reason."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    return brief(error) + (f'; {LOG_IN}.' if status in (401, 403) else '')


def brief(error: Exception, limit: int = 300) -> str:
    """A message on one line, cut where it grows long; the error's name where it has none."""
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f'{text[:limit]}...'
