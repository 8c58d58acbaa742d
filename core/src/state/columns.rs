//! How paths, hashes, tokens, times and words stand in a column.

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entry::{Hash, Kind, Token};
use crate::path::RelPath;

/// A path as a key: its bytes with a `/` appended (the root's are empty), which `memcmp` orders as [`RelPath`] does.
pub(super) struct Key(pub RelPath);

/// The bytes of a path's key.
pub(super) fn key(path: &RelPath) -> Vec<u8> {
    let text = path.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.extend_from_slice(text);
    if !path.is_root() {
        bytes.push(b'/');
    }
    bytes
}

/// The first key after all keys at or below that directory.
pub(super) fn end_of(dir: &RelPath) -> Vec<u8> {
    if dir.is_root() {
        // No UTF-8 begins with this byte.
        return vec![0xff];
    }
    let mut bytes = key(dir);
    bytes.pop();
    bytes.push(b'/' + 1);
    bytes
}

impl FromSql for Key {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_blob()? {
            [] => Ok(Self(RelPath::root())),
            [path @ .., b'/'] if !path.is_empty() => RelPath::from_bytes(path).map(Self).map_err(FromSqlError::other),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl FromSql for Hash {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_blob()?.try_into().map(Self).map_err(FromSqlError::other)
    }
}

impl ToSql for Hash {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}

impl FromSql for Token {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_blob().map(Self::new)
    }
}

/// The bytes of a token to be kept; none of a racy one, which vouches for nothing.
pub(super) fn lasting(token: Option<&Token>) -> Option<&[u8]> {
    token.filter(|token| !token.is_racy()).map(Token::as_bytes)
}

impl FromSql for Kind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(Self::File),
            1 => Ok(Self::Dir),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

impl ToSql for Kind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Integer(match self {
            Self::File => 0,
            Self::Dir => 1,
        })))
    }
}

/// A number that counts; what no i64 holds, no disk does either.
pub(super) fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A number that counts, read back.
pub(super) struct Count(pub u64);

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// A value kept as the one word it is in JSON: a time, or a variant of an enum.
pub(super) struct Word<T>(pub T);

/// A time, as RFC 3339.
pub(super) type Time = Word<Timestamp>;

impl<T: DeserializeOwned> FromSql for Word<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = serde_json::Value::from(value.as_str()?);
        serde_json::from_value(word).map(Self).map_err(FromSqlError::other)
    }
}

impl<T: Serialize> ToSql for Word<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match serde_json::to_value(&self.0) {
            Ok(serde_json::Value::String(word)) => Ok(ToSqlOutput::Owned(Value::Text(word))),
            Ok(other) => Err(rusqlite::Error::ToSqlConversionFailure(format!("{other} is no word").into())),
            Err(cause) => Err(rusqlite::Error::ToSqlConversionFailure(cause.into())),
        }
    }
}
