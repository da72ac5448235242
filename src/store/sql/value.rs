//! Values on their way in and out, in the five kinds that SQLite has. A server's integers are all 64 bits wide here, and
//! what is true or false is 1 or 0, so that a statement means the same to both.

use std::error::Error as StdError;

use bytes::BytesMut;
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A parameter of a statement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// A column of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColumnRef<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// What can be a parameter.
pub trait Param {
    fn value(&self) -> Value<'_>;
}

/// Parameters of one run of a statement, `?1` first.
pub trait Params {
    fn values(&self) -> Vec<Value<'_>>;
}

/// Values of different types as parameters.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$(&$value as &dyn $crate::store::sql::Param),*] as &[&dyn $crate::store::sql::Param] };
}
pub(crate) use params;

/// Parameters of a row among many, for [`super::Statement::execute_each`].
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::sql::Value::from($value)),*] };
}
pub(crate) use values;

impl Params for &[&dyn Param] {
    fn values(&self) -> Vec<Value<'_>> {
        self.iter().map(|param| param.value()).collect()
    }
}

impl Params for [&dyn Param; 0] {
    fn values(&self) -> Vec<Value<'_>> {
        Vec::new()
    }
}

impl<T: Param> Params for [T; 1] {
    fn values(&self) -> Vec<Value<'_>> {
        vec![self[0].value()]
    }
}

impl<T: Param> Params for [T; 2] {
    fn values(&self) -> Vec<Value<'_>> {
        vec![self[0].value(), self[1].value()]
    }
}

impl Params for Vec<Value<'_>> {
    fn values(&self) -> Vec<Value<'_>> {
        self.clone()
    }
}

impl<T: Param + ?Sized> Param for &T {
    fn value(&self) -> Value<'_> {
        (**self).value()
    }
}

impl<T: Param> Param for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, Param::value)
    }
}

macro_rules! integers {
    ($($integer:ty),*) => { $(
        impl Param for $integer {
            fn value(&self) -> Value<'_> {
                Value::Int(i64::from(*self))
            }
        }

        impl From<$integer> for Value<'_> {
            fn from(number: $integer) -> Self {
                Self::Int(number.into())
            }
        }

        impl Column for $integer {
            fn from_column(column: ColumnRef<'_>) -> Option<Self> {
                match column {
                    ColumnRef::Int(number) => number.try_into().ok(),
                    ColumnRef::Null | ColumnRef::Real(_) | ColumnRef::Text(_) | ColumnRef::Blob(_) => None,
                }
            }
        }
    )* };
}
integers!(i64, i32, u32, u8);

impl Param for bool {
    fn value(&self) -> Value<'_> {
        Value::Int(i64::from(*self))
    }
}

impl From<bool> for Value<'_> {
    fn from(set: bool) -> Self {
        Self::Int(set.into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Blob(bytes)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl Param for f64 {
    fn value(&self) -> Value<'_> {
        Value::Real(*self)
    }
}

impl Param for str {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Param for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Param for [u8] {
    fn value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl Param for Vec<u8> {
    fn value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(number),
            Self::Real(number) => ValueRef::Real(number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match *self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) => match *of {
                Type::INT4 => i32::try_from(number)?.to_sql(of, out),
                Type::INT2 => i16::try_from(number)?.to_sql(of, out),
                Type::BOOL => (number != 0).to_sql(of, out),
                _ => number.to_sql(&Type::INT8, out),
            },
            Self::Real(number) => number.to_sql(of, out),
            // The one character that PostgreSQL's texts can't hold.
            Self::Text(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql(of, out),
            Self::Text(text) => text.to_sql(of, out),
            Self::Blob(bytes) => bytes.to_sql(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        [Type::INT8, Type::INT4, Type::INT2, Type::BOOL, Type::FLOAT8, Type::TEXT, Type::VARCHAR, Type::BYTEA]
            .contains(of)
    }

    to_sql_checked!();
}

/// What a statement is given for a parameter: a row's value, or those of many rows.
#[derive(Debug)]
pub enum Given<'a> {
    One(Value<'a>),
    Each(Vec<Value<'a>>),
}

impl ToSql for Given<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::One(value) => value.to_sql(of, out),
            Self::Each(values) => values.to_sql(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        <Value<'_> as ToSql>::accepts(of) || <Vec<Value<'_>> as ToSql>::accepts(of)
    }

    to_sql_checked!();
}

/// A parameter as it goes over the wire, which outlives what it was made of; `None` for NULL.
#[derive(Debug)]
pub struct Encoded(Option<BytesMut>);

impl Encoded {
    /// `of`: the type that the server wants.
    pub fn new(given: &Given<'_>, of: &Type) -> super::Result<Self> {
        let mut out = BytesMut::new();
        match given.to_sql_checked(of, &mut out) {
            Ok(IsNull::No) => Ok(Self(Some(out))),
            Ok(IsNull::Yes) => Ok(Self(None)),
            Err(error) => Err(super::Error::Value(error.to_string())),
        }
    }
}

impl ToSql for Encoded {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Some(bytes) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    /// It is of the type that it was made for.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for ColumnRef<'a> {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(match *of {
            Type::INT8 => Self::Int(i64::from_sql(of, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(of, raw)?.into()),
            Type::INT2 => Self::Int(i16::from_sql(of, raw)?.into()),
            Type::BOOL => Self::Int(bool::from_sql(of, raw)?.into()),
            Type::FLOAT8 => Self::Real(f64::from_sql(of, raw)?),
            Type::BYTEA => Self::Blob(raw),
            _ => Self::Text(std::str::from_utf8(raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(of: &Type) -> bool {
        <Value<'_> as ToSql>::accepts(of)
    }
}

/// What a column can be read as.
pub trait Column: Sized {
    /// `None` where the column is of another type.
    fn from_column(column: ColumnRef<'_>) -> Option<Self>;
}

impl<T: Column> Column for Option<T> {
    fn from_column(column: ColumnRef<'_>) -> Option<Self> {
        if column == ColumnRef::Null { Some(None) } else { T::from_column(column).map(Some) }
    }
}

impl Column for bool {
    fn from_column(column: ColumnRef<'_>) -> Option<Self> {
        i64::from_column(column).map(|number| number != 0)
    }
}

impl Column for f64 {
    fn from_column(column: ColumnRef<'_>) -> Option<Self> {
        match column {
            ColumnRef::Real(number) => Some(number),
            ColumnRef::Null | ColumnRef::Int(_) | ColumnRef::Text(_) | ColumnRef::Blob(_) => None,
        }
    }
}

impl Column for String {
    fn from_column(column: ColumnRef<'_>) -> Option<Self> {
        match column {
            ColumnRef::Text(text) => Some(text.to_owned()),
            ColumnRef::Null | ColumnRef::Int(_) | ColumnRef::Real(_) | ColumnRef::Blob(_) => None,
        }
    }
}

impl Column for Vec<u8> {
    fn from_column(column: ColumnRef<'_>) -> Option<Self> {
        match column {
            ColumnRef::Blob(bytes) => Some(bytes.to_owned()),
            ColumnRef::Null | ColumnRef::Int(_) | ColumnRef::Real(_) | ColumnRef::Text(_) => None,
        }
    }
}
