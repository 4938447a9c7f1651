"""Redaction of text for pages and tables: paths, hosts, users and passwords.

No pattern knows every name of a person; these know how paths, hosts, users and passwords are written.
A path is removed up to the end of its line (or quotation), since names of folders may hold blanks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["Names", "folder_label", "is_identifying", "reason_in", "redacted", "redacted_text"]

PATH, REMOVED = "[path]", "[removed]"

#: Maximum length of a name; longer ones are cut.
LONGEST_NAME = 200

# Every alternative begins where no other match of it can have begun before, so that the search is linear.
_FOUND = re.compile(
    r"""
    (?P<kept>https://(?:www\.)?(?:doi|dx\.doi|arxiv)\.org/[^\s'"<>@?\#:]*(?=[\s'"<>)]|$))
    | (?P<path>
        (?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*://  # any URL
      | (?<![A-Za-z0-9])(?:file|mailto|smb|nfs|sftp|ssh):(?=\S)
      | (?<![A-Za-z0-9])[A-Za-z]:[\\/]  # drive
      | \\\\(?=\S)  # network share
      | (?<![\w\\])\\[^\s\\/]+\\  # from the root of a drive
      | (?<![\w.-])[\w.-]+\\(?=\w)  # DOMAIN\user, a relative folder
      | (?<![\w.-])[\w.-]+:[/~](?=\S)  # host:/folder
      | (?<![^\W_])~(?:[/\\]|[A-Za-z_])  # home folders
      | (?<![\w.)\]</])/+(?=[^\s/=*>\[])
      | (?<=<)/+(?![\w-]+\s*>)(?=[\w.~])
      | (?<![\w.])\.{1,2}[/\\](?=\S)
      | \$\{?[A-Z_][A-Z0-9_]*\}?[/\\](?=\S) | %\w+%[/\\]  # $HOME/folder
      | (?<![A-Za-z0-9_.-])(?i:home|users|usr|mnt|export|scratch|nfs|srv|volumes)[/\\](?=\S)
      | (?<![^\s'"])[^\s'"%]*%(?i:2f|5c|3a)  # encoded as in a URL
      | (?<![A-Za-z0-9])(?i:user(?:_?name)?|login|passw(?:or)?d|pwd|token|secret|api[_-]?key|host(?:_?name)?)
        ["']?\s{0,3}[=:]\s{0,3}(?=[^\s\[])
      )
    | (?P<address>  # user@host, but neither AP@50 nor a reference of MONAI's configs
        (?<![^\s'"<>(){}\[\],;=|])[^\s'"<>(){}\[\],;=|@$]*\w@(?!\d|\w\b)[^\s'"<>(){}\[\],;|]+
      )
    | (?P<token>
        (?<![\d.])[0-2](?:\.\d+){5,}  # UIDs of DICOM
      | (?<![\d.])(?:10|127|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}(?![\d.])(?::\d+)?
      | (?<![\d.])\d{1,3}(?:\.\d{1,3}){3}:\d+
      | (?<![\w.-])[\w-]+(?:\.[\w-]+)*\.(?:local|lan|internal|intranet|intern|corp|localdomain)(?![\w-]|\.\w)
      )
    """,
    re.VERBOSE,
)
# config entries that hold a folder, file or address, even a relative one
_PATH_KEYS = re.compile(
    r"(?:dir|directory|path|file|filename|folder|root|uri|url|server|bucket|mount|address)s?$", re.IGNORECASE
)
_SECRET_KEYS = re.compile(
    r"user|host|login|e-?mail|passw|pwd|token|secret|home|credential|api_?key|auth", re.IGNORECASE
)
#: Columns of the case table that no page shows: paths, users, and DICOM attributes of persons, places and
#: times; labels are shown elsewhere. Names are compared without spaces, underscores and apostrophes.
_HIDDEN_COLUMNS = re.compile(
    r"^(caseid|label|labelname|images?|split|host|hostname|user|username)$|paths?$|uids?$"
    r"|^(image|img|dicom)?files?(names?)?$"
    r"|patients?(name|birth|address|telephone|mother)|birthdate|dateofbirth|accession|physician|operatorsname"
    r"|(institution|station)(name|address)|deviceserialnumber"
    r"|^(study|series|acquisition|content)(date|time)$",
    re.IGNORECASE,
)
#: Words in the name of a column that say that it holds persons, or where they are reached; but names of
#: things are none, and what is said of a patient, such as an age, need not identify one.
_PERSONS = re.compile(
    r"^patients?$|\b(doctor|physician|reader|email|e mail|(tele)?phone|mrn|zip|zipcode|(post|postal ?)code"
    r"|address|birth|birthda(y|te)|(sur|fore|first|last|middle|given|family|full)names?)\b"
    r"|(?<!class )(?<!label )(?<!model )(?<!device )(?<!scanner )(?<!protocol )\bnames?\b"
)
_WORD_ENDS = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[A-Z][a-z]|[0-9])|[^A-Za-z0-9]+")
#: DICOM keywords of ids in one word; a dataset's own ``patient_id`` is shown, as ``group`` is.
_DICOM_IDS = re.compile(r"(patient|study)ids?$", re.IGNORECASE)
_QUOTED = re.compile(r"""(['"])(?:(?!\1).)*\1""")


@lru_cache(maxsize=1024)  # a table repeats its texts in every row, and a page redacts each once more
def redacted_text(text: str) -> str:
    """Return a text without paths, URLs, hosts, user names before a host, passwords and DICOM UIDs.

    Redacting a redacted text changes nothing. Links to publications (doi.org, arxiv.org) stay.

    Args:
        text: any text; characters that UTF-8 cannot encode become question marks.
    """
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    parts, position = [], 0
    while found := _FOUND.search(text, position):
        start, end, kind = found.start(), found.end(), found.lastgroup
        if kind == "path" or (kind == "address" and re.search(r"[/\\]", found[0])):
            end, shown = max(end, _end(text, start)), PATH
        else:
            shown = found[0] if kind == "kept" else REMOVED
        parts += [text[position:start], shown]
        position = end
    return "".join([*parts, text[position:]])


def is_identifying(column: str) -> bool:
    """Return whether no page shows a case table's column of this name, which holds paths, ids or persons."""
    words = _WORD_ENDS.sub(" ", column).strip().lower()
    return bool(
        _HIDDEN_COLUMNS.search(re.sub(r"[\s_'’]", "", column))
        or _DICOM_IDS.search(column)
        or _PERSONS.search(words)
    )


def _end(text: str, start: int) -> int:
    """Return the end of a path's line, or of the quotation around the path."""
    newline = text.find("\n", start)
    line_end = len(text) if newline < 0 else newline
    before = text[start - 1] if start else ""
    closing = {"'": "'", '"': '"', "`": "`", "‘": "’", "“": "”", "«": "»"}.get(before)
    quotation_end = text.rfind(closing, start, line_end) if closing else -1
    return line_end if quotation_end < 0 else quotation_end


def redacted(value: Any) -> Any:
    """Return a copy of JSON-like content with every text redacted by :func:`redacted_text`.

    Values of keys such as ``password`` or ``user`` are always removed, and those of keys such as
    ``dataset_dir`` are treated as paths.
    """
    if isinstance(value, Mapping):
        names = Names()
        return {
            names(str(key)): REMOVED
            if _SECRET_KEYS.search(str(key))
            else _without_folders(item)
            if _PATH_KEYS.search(str(key))
            else redacted(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redacted(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()  # NumPy scalar
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redacted_text(str(value))


def _without_folders(value: Any) -> Any:
    if isinstance(value, str) and value:
        # in an expression or reference of a MONAI config, the quoted texts are folders
        return redacted_text(_QUOTED.sub(rf"\1{PATH}\1", value)) if value[0] in "$@%" else PATH
    if isinstance(value, (list, tuple)):
        return [_without_folders(item) for item in value]
    return redacted(value)


class Names:
    """Redact names and keep different ones different: two paths become ``[path]`` and ``[path] 2``.

    Args:
        form: applied to each redacted name, such as to write it in words.
    """

    def __init__(self, form: Callable[[str], str] = str) -> None:
        self._form = form
        self._clean: dict[str, str] = {}
        self._used: set[str] = set()

    def __call__(self, name: str) -> str:
        """Return the redacted name, always the same for a name."""
        if name not in self._clean:
            clean = self._form(redacted_text(name))
            if len(clean) > LONGEST_NAME:
                clean = clean[:LONGEST_NAME] + "…"
            choices = (clean if n == 1 else f"{clean} {n}" for n in range(1, len(self._used) + 2))
            self._clean[name] = next(choice for choice in choices if choice not in self._used)
            self._used.add(self._clean[name])
        return self._clean[name]


def folder_label(folder: Path, roots: tuple[Path, ...] = ()) -> str:
    """Return the name of a run's folder for a page: its path below one of the roots, or its own name.

    Folders of users, and those at the root of a disk, are not named.
    """
    place = folder.parent if folder.name == "results" else folder
    for root in roots:
        if place != root and place.is_relative_to(root):
            return "/".join(map(redacted_text, place.relative_to(root).parts))
    above = place.parent
    is_private = not place.name or above.parent == above or above.name.lower() in ("home", "users")
    return "a run" if is_private else redacted_text(place.name)


def reason_in(error: Exception, folder: Path | None = None) -> str:
    """Return the first line of an error for a page, without the run's folder and other paths."""
    text = str(error).strip().split("\n", 1)[0] or type(error).__name__
    if folder is not None:
        text = text.replace(f"{folder}: ", "").replace(f"{folder}{os.sep}", "")
        text = text.replace(str(folder), "the folder")
    text = redacted_text(text).rstrip(".")
    return text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "…"
