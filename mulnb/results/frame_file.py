"""How a published frame is stored: a Parquet file with a checksum of its own content, so that no changed byte is believed."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from mulnb.core import plain_file
from mulnb.core.errors import UserError, one_line

SEAL = b"mulnb_sha256"  # in the metadata of the file
DICTIONARY = "RLE_DICTIONARY"  # the values that occur, and which of them stands in each row


def write(frame: pd.DataFrame, path: Path) -> None:
    """Exactly the frame, in less than two thirds of the size: it is committed.

    Args:
        frame: what to store; its index is left out.
        path: of the file, which is overwritten.
    """
    # without pandas' own description, which takes half of a small file: names and values say as much
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    encodings = {name: _smallest(table.select([name])) for name in table.column_names}

    with path.open("wb") as file:  # Arrow takes no name that is no text
        _write(table, file, encodings, _seal(table))


def _smallest(column: pa.Table) -> str:
    """The encoding that makes a column smallest, by trying: noise, repeated and nearly sorted numbers each have another one."""
    kind = column.schema.types[0]
    tried = [DICTIONARY]
    if pa.types.is_integer(kind):
        tried.append("DELTA_BINARY_PACKED")
    if pa.types.is_floating(kind):
        tried.append("BYTE_STREAM_SPLIT")

    sizes = {}
    for encoding in tried:
        buffer = io.BytesIO()
        _write(column, buffer, {column.column_names[0]: encoding})
        sizes[encoding] = buffer.tell()
    return min(sizes, key=sizes.__getitem__)


def _write(table: pa.Table, to: BinaryIO, encodings: dict[str, str], seal: bytes = b"") -> None:
    words = [name for name, encoding in encodings.items() if encoding == DICTIONARY]
    others = {name: encoding for name, encoding in encodings.items() if encoding != DICTIONARY}
    how = {"compression": "zstd", "compression_level": 15, "use_dictionary": words, "column_encoding": others}

    # Arrow would store the schema a second time in its own form, and the extremes of each column, which nobody reads here
    with parquet.ParquetWriter(to, table.schema, write_statistics=False, store_schema=False, **how) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({SEAL: seal})


def read(path: Path) -> pd.DataFrame:
    """Read a frame that `write`, or an older version without checksums, has stored.

    Raises:
        UserError: the file is damaged; one line that names it and what to do.
    """
    try:
        plain_file.check(path)  # a folder would be read as an empty frame, and a named pipe be waited for
        with path.open("rb") as file:
            # Arrow's threads now and then abort a process that ends right after it has read a file without columns
            table = parquet.read_table(file, use_threads=False)
        stated = (table.schema.metadata or {}).get(SEAL)
        if stated is not None and stated != _seal(table):
            raise ValueError("checksum differs")
        return table.to_pandas()
    except Exception as error:  # damaged bytes may raise anything
        raise UserError(f"{path}: damaged ({one_line(error)[:100]}): remove it and compute it again with mulnb run") from None


def _seal(table: pa.Table) -> bytes:
    """A checksum of names and values, whatever the versions of the libraries make of them in memory."""
    as_pandas = (table.schema.metadata or {}).get(b"pandas", b"")  # the names and types that the frame gets
    content = hashlib.sha256(as_pandas)
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)

        if is_number and column.null_count == 0:
            content.update(f"{name} {kind} ".encode())
            content.update(column.to_numpy().tobytes())
        else:
            content.update(json.dumps([name, column.to_pylist()], default=str).encode())

    return content.hexdigest().encode()
