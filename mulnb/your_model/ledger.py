"""`mulnb.Requests`: a file of all requests to forget, what was done about each, and which model came out.

One JSON object a line; each holds the hash of the line before, so that a changed, removed or moved line is found. Together
with the first model and the data, the file is enough to make the model after k requests again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from mulnb.core import locks, paths
from mulnb.core.errors import UserError, notice
from mulnb.core.vocabulary import STRATA
from mulnb.core.whole import is_whole
from mulnb.forget import Strata
from mulnb.your_model import api
from mulnb.your_model.adapt import Factory, Model, plain
from mulnb.your_model.inputs import Normalize
from mulnb.your_model.page import json_ready, versions, weights_hash
from mulnb.your_model.recipe import Training

FORMAT = "mulnb requests 1"
START = "0" * 64
COLUMNS = ["number", "time", "about", "n", "algorithm", "strategy", "verdict", "model_after"]
HOW = ("algorithm", "strategy", "settings", "seed", "versions")
READ = ("number", "time", "about", "verdict", "data", "model_before", "model_after", *HOW)


class Requests:
    """The requests in a file, oldest first. Opening it checks the chain.

    Args:
        path: the file; it is made with the first request.

    Raises:
        UserError: the file is no ledger, or was changed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = paths.given(path, "the ledger")
        self._entries: list[dict[str, Any]] = []
        self._end, self._ends_a_line = 0, True  # bytes of the file that hold requests, and whether a new line can follow them
        if os.path.isfile(self.path):
            self._read()
        elif os.path.lexists(self.path):
            raise UserError(f"{self.path} is no file: give the path of a ledger, such as requests.jsonl")

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._entries)

    @property
    def forgotten(self) -> np.ndarray:
        """All examples that were asked to be forgotten so far, int64, sorted: `already_forgotten` of the next request."""
        found: list[int] = []
        for entry in self._entries:
            found += examples_of(entry)
        return np.array(sorted(found), dtype=np.int64)

    def check(self, index: np.ndarray, data: str, about: str = "", before: nn.Module | None = None) -> None:
        """Raises `UserError` if a request cannot be written down: ask before the work is done.

        Args:
            index: int64 [n], the examples to forget.
            data: the hash of images and labels.
            about: free text.
            before: the module that it is to be unlearned from, where that is known.
        """
        if not isinstance(about, str):
            raise UserError(f"{self.path}: about is a {type(about).__name__}: expected words, who asked and why")
        if len(index) == 0:
            raise UserError(f"{self.path}: the request is empty: name at least one example")

        again = np.intersect1d(index, self.forgotten)
        if len(again):
            raise UserError(f"{self.path}: example {again[0]} is in an earlier request")
        if self._entries and self._entries[0]["data"] != data:
            raise UserError(f"{self.path}: its requests are about other images or labels")
        # another model still knows what the earlier requests removed
        if self._entries and before is not None and weights_hash(before) != self._entries[-1]["model_after"]:
            raise UserError(
                f"{self.path}: the model is not the one that request {len(self)} left: give that one, or begin a new ledger"
            )

        paths.check_place(self.path, "the ledger")
        # a second program that added a line meanwhile would be overwritten in the chain
        Requests(self.path)._check_same(self)

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Keep other calls of `mulnb.forget` from adding a request inside a `with` block: its files come before its line.

        Raises:
            UserError: a request was added since this was opened, or the file is no ledger any more.
        """
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # there is no folder yet
                stack.enter_context(locks.held_folder(paths.real(self.path).parent))
            if Requests(self.path)._last() != self._last():
                raise UserError(f"{self.path}: another request was added meanwhile: begin again with the model that it left")
            yield

    def add(
        self,
        strata: Strata,
        unlearned: api.Unlearned,
        *,
        before: Any,
        data: str,
        verdict: str = "",
        about: str = "",
    ) -> Mapping[str, Any]:
        """Write a request down.

        Args:
            strata: what was forgotten.
            unlearned: what `mulnb.unlearn` returned.
            before: the model that it was unlearned from.
            data: the hash of images and labels (`Report.about["data"]`).
            verdict: in words.
            about: who asked, and why; free text.

        Returns:
            The entry.

        Raises:
            UserError: examples were asked to be forgotten before, data or model are others, or the file cannot be written.
        """
        if not isinstance(strata, Strata):
            raise UserError(f"{self.path}: strata is a {type(strata).__name__}: expected what mulnb.strata returns")
        if not isinstance(unlearned, api.Unlearned):
            raise UserError(f"{self.path}: unlearned is a {type(unlearned).__name__}: expected what mulnb.unlearn returned")
        before = plain(before)
        self.check(strata.forget, data, about, before)

        parts = {name: getattr(strata, name).tolist() for name in STRATA}
        entry = {
            "format": FORMAT,
            "number": len(self) + 1,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "about": about.encode("utf-8", "backslashreplace").decode(),  # a command line may hold bytes that are no text
            "strata": parts,
            "already_forgotten": len(self.forgotten),
            "algorithm": json_ready(unlearned.algorithm),
            "strategy": unlearned.strategy,
            "settings": _exact(unlearned.settings),
            "seed": int(unlearned.seed),
            "verdict": verdict,
            "data": data,
            "model_before": weights_hash(before),
            "model_after": weights_hash(unlearned.model),
            "versions": versions(),
            "previous": self._last(),
        }
        entry["hash"] = _hash(entry)  # of everything above, the hash of the line before included
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False)

        self._append(line.encode())
        self._entries.append(entry)

        return entry

    def to_frame(self) -> pd.DataFrame:
        """One row per request: `number time about n algorithm strategy verdict model_after`."""
        rows = [entry | {"n": len(examples_of(entry))} for entry in self._entries]
        return pd.DataFrame(rows, columns=COLUMNS)

    def rebuild(
        self,
        model: Model,
        images: Any,
        labels: Any = None,
        *,
        count: int | None = None,
        normalize: Normalize = None,
        factory: Factory | None = None,
        fresh: Factory | None = None,
        training: Training | None = None,
    ) -> Any:
        """The model after the first `count` requests (all by default), unlearned again from the first one, one by one.

        Args:
            model: the model before any request.
            images, labels, normalize, factory, fresh, training: as they were for these requests.

        Returns:
            A module.

        Raises:
            UserError: the model or a model on the way is not the one that was written down (other weights, data or versions).
        """
        count = len(self) if count is None else count
        if not is_whole(count):
            raise UserError(f"{self.path}: count = {count!r}: should be a whole number, how many requests")
        if not 0 <= count <= len(self):
            raise UserError(f"{self.path}: count = {count}: it has {len(self)} requests")

        given = plain(model, factory)
        gone: list[int] = []

        for entry in self._entries[:count]:
            if weights_hash(given) != entry["model_before"]:
                raise UserError(f"{self.path}: the model before request {entry['number']} is another one than was written down")

            strata = Strata(*(np.array(part, dtype=np.int64) for part in entry["strata"].values()))
            found = api.unlearn(
                given,
                images,
                labels,
                strata,
                algorithm=entry["algorithm"],
                strategy=entry["strategy"],
                settings=entry["settings"],
                seed=entry["seed"],
                normalize=normalize,
                fresh=fresh,
                training=training,
                already_forgotten=gone or None,
                duplicates="keep",
                progress=False,
            )
            given = found.model
            # other versions or another processor round otherwise: then say so instead of handing out a look-alike
            if weights_hash(given) != entry["model_after"]:
                what = f"{self.path}: request {entry['number']} gives other weights than then"
                if entry["versions"] == versions():
                    raise UserError(f"{what}: training=, normalize=, fresh= or the number of threads are not those of then")
                raise UserError(f"{what} (then: {_told(entry['versions'])}; now: {_told(versions())})")

            gone += strata.forget.tolist()

        return given

    def _append(self, line: bytes) -> None:
        """Add a line to the file whole, or leave the file as it was."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b", buffering=0) as file, locks.held_file(file.fileno()):
                now = Requests(self.path)
                now._check_same(self)
                file.truncate(now._end)  # without what a killed program had begun to write
                # an editor may have taken the line break at the end
                content = (b"" if now._ends_a_line else b"\n") + line + b"\n"
                try:
                    while content:
                        content = content[file.write(content) :]
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(now._end)
                    raise
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror or error}") from None

    def _check_same(self, opened: Requests) -> None:
        """Raises `UserError` if this, what the file holds now, is not what `opened` has read."""
        if self._last() != opened._last():
            raise UserError(f"{self.path} was changed since it was opened: open it again by mulnb.Requests(path)")

    def _read(self) -> None:
        previous = START
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error}") from None

        *whole, rest = content.split(b"\n")
        if rest and _is_half(rest, first=not whole):
            notice(f"{self.path}: line {len(whole) + 1} is cut off: it is left out, and the next request replaces it")
            content = content[: -len(rest)]
        self._end, self._ends_a_line = len(content), not content or content.endswith(b"\n")

        try:
            lines = content.decode().rstrip("\r\n").split("\n")  # not splitlines: free text may hold other signs that end a line
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path} cannot be read: {error}") from None
        for number, line in enumerate(lines if any(lines) else [], start=1):
            try:
                entry = json.loads(line)
                stated, before = entry["hash"], entry["previous"]
                known = entry["format"] == FORMAT and _is_whole(entry) and stated == _hash(entry)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise UserError(f"{self.path}, line {number}: no request; the file is no ledger of mulnb.Requests") from None

            if not known or before != previous or entry["number"] != number:
                raise UserError(f"{self.path}, line {number}: the chain is broken: a line was changed, removed or moved")

            previous = stated
            self._entries.append(entry)

    def _last(self) -> str:
        """The hash of the newest entry, which the next one holds."""
        return self._entries[-1]["hash"] if self._entries else START


def examples_of(entry: Mapping[str, Any]) -> list[int]:
    """The examples of an entry, stratum by stratum."""
    return list(itertools.chain(*entry["strata"].values()))


def _is_whole(entry: Mapping[str, Any]) -> bool:
    """Whether an entry has all that this class reads of it."""
    for name in STRATA:
        if not all(type(index) is int for index in entry["strata"][name]):
            return False
    return len(entry["strata"]) == 3 and set(READ) <= set(entry)


def _is_half(line: bytes, first: bool) -> bool:
    """Whether a line without an end is the beginning of a request, or of the `first`, which says that this is a ledger."""
    beginning = json.dumps({"format": FORMAT})[:-1].encode()
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return line.startswith(beginning) or (not first and beginning.startswith(line))
    return False  # complete, but for the line break


def _exact(settings: Any) -> Any:
    """Settings as JSON holds them, with every digit: `rebuild` trains with them."""
    return json.loads(
        json.dumps(settings, default=lambda value: value.item() if getattr(value, "ndim", None) == 0 else str(value))
    )


def _hash(entry: Mapping[str, Any]) -> str:
    plain_entry = {name: value for name, value in entry.items() if name != "hash"}
    return hashlib.sha256(json.dumps(plain_entry, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _told(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.items())
