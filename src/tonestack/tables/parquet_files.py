"""Parquet files from strangers, read in bounded memory: a page of kilobytes may hold gigabytes."""

from pathlib import Path

from tonestack.base.errors import UserError

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TEXT = 1024  # bytes of a cell
ROWS, FEW = 256, 8  # whose text is looked at together; where a cell may repeat the one before, cells are held whole
SLACK = 64 << 20  # bytes of pages that a file may have beyond its cells


def read(path: Path, rows: int, columns: int) -> pd.DataFrame:
    """Read a table of at most so many rows and columns of numbers or short text; any other is a `UserError`."""
    with pq.ParquetFile(path) as file:
        texts = _checked(path, file, rows, columns)
        prefixed = _prefixed(file)
    with pq.ParquetFile(path, read_dictionary=None if prefixed else texts) as file:
        seen = 0
        for batch in file.iter_batches(FEW if prefixed else ROWS, columns=texts, use_threads=False) if texts else ():
            seen += len(batch)
            if seen > rows:
                raise UserError(f"{path}: more than {rows:,} rows; give one row for each clip")
            for name in texts:
                _check_text(path, name, batch.column(name))
    return pq.read_table(path).to_pandas(ignore_metadata=True)


def _checked(path: Path, file: pq.ParquetFile, rows: int, columns: int) -> list[str]:
    """Check the file's own account of its size; return the names of its columns of text."""
    meta, schema = file.metadata, file.schema_arrow
    if len(schema) > columns:
        raise UserError(f"{path}: {len(schema):,} columns; give clip_id, part and the class columns alone")
    if meta.num_rows > rows:
        raise UserError(f"{path}: {meta.num_rows:,} rows; give one row for each clip (at most {rows:,})")
    groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
    unpacked = sum(
        group.column(place).total_uncompressed_size for group in groups for place in range(group.num_columns)
    )
    if unpacked > SLACK + meta.num_rows * (TEXT + 16 * len(schema)):
        raise UserError(f"{path}: unpacks to {unpacked:,} bytes (a bomb?); not read")
    for field in schema:
        if not any(of(field.type) for of in (_is_text, pa.types.is_primitive, pa.types.is_decimal, pa.types.is_null)):
            raise UserError(f"{path}: column '{field.name}' holds {field.type}; give text or numbers")
    return [field.name for field in schema if _is_text(field.type)]


def _prefixed(file: pq.ParquetFile) -> bool:
    """True if a column's cells are written as what they add to the cell before."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    columns = [group.column(place) for group in groups for place in range(group.num_columns)]
    return any(name.startswith("DELTA") for column in columns for name in column.encodings)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(of(kind) for of in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _check_text(path: Path, name: str, cells: pa.Array) -> None:
    values = cells.dictionary if pa.types.is_dictionary(cells.type) else cells
    longest = pc.max(pc.binary_length(values)).as_py() or 0
    if longest > TEXT:
        raise UserError(f"{path}: column '{name}' has a cell of {longest:,} bytes (at most {TEXT:,})")
