//! How a method's fields become octets: the types a field can have, and the macro that declares a
//! class with its methods.
//!
//! spec: 4.2.4, method payloads, and 4.2.5.2, bits: those in a row share octets, the first one in
//! the lowest bit.

use crate::error::{MethodError, TRAILING, TableError};
use crate::table::Table;
use crate::wire::{self, Parsed, ShortStr};

/// What every method of every class has; [`encode::method`](crate::encode::method) takes it.
pub trait Encode {
    /// The class id.
    const CLASS_ID: u16;
    /// The method id, unique in its class.
    const METHOD_ID: u16;
    /// The specification's name, with its class: `queue.declare`.
    const NAME: &'static str;
    /// Whether a content header and a body follow.
    const HAS_CONTENT: bool;

    /// Appends the fields, without the ids.
    fn encode_fields(&self, out: &mut Vec<u8>);
}

/// The reading half of a method.
pub(super) trait Decode<'a>: Encode + Sized {
    /// Reads the fields in their order, as many octets as they take.
    fn read_fields(reader: &mut Reader<'a>) -> Result<Self, FieldError>;

    /// The first short string that is no text.
    fn not_utf8(&self) -> Option<&'static str>;

    /// Reads a method from all that follows its ids.
    #[inline]
    fn decode(arguments: &'a [u8]) -> Result<Self, MethodError<'a>> {
        let mut reader = Reader::new(arguments);
        let method = Self::read_fields(&mut reader).and_then(|method| reader.end(method));
        let method = method.map_err(|error| {
            error.in_method(Self::CLASS_ID, Self::METHOD_ID, arguments, reader.rest)
        })?;
        // rabbitmq: checks the strings of the methods that name things for good. Those with content
        // pass through: a routing key is octets.
        if !Self::HAS_CONTENT
            && let Some(field) = method.not_utf8()
        {
            let (class_id, method_id) = (Self::CLASS_ID, Self::METHOD_ID);
            return Err(MethodError::NotUtf8 { class_id, method_id, field });
        }
        Ok(method)
    }
}

/// Why a field could not be read. The place is where the reader stands.
pub(super) enum FieldError {
    /// Too few octets, or, for [`TRAILING`], too many.
    Cut(&'static str),
    /// A table, all there but not decodable.
    Table(&'static str, TableError),
}

impl FieldError {
    #[cold]
    fn in_method<'a>(
        self,
        class_id: u16,
        method_id: u16,
        arguments: &'a [u8],
        rest: &[u8],
    ) -> MethodError<'a> {
        let offset = arguments.len() - rest.len();
        match self {
            Self::Cut(context) => {
                MethodError::Malformed { class_id, method_id, arguments, offset, context }
            }
            Self::Table(field, source) => {
                // The reader stands at the table's size, the error counts from its first entry.
                let offset = offset + size_of::<u32>();
                MethodError::BadTable { class_id, method_id, field, offset, source }
            }
        }
    }
}

/// The fields that are not read yet. It also remembers which bits of the last octet are left; after
/// inlining nothing remains of that.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    bits: u8,
    bits_left: u8,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(arguments: &'a [u8]) -> Self {
        Self { rest: arguments, bits: 0, bits_left: 0 }
    }

    /// Reads the next field; its name is for the error.
    #[inline]
    pub(super) fn field<F: Field<'a>>(&mut self, name: &'static str) -> Result<F, FieldError> {
        F::read(self, name)
    }

    #[inline]
    fn whole<T>(
        &mut self,
        name: &'static str,
        parser: impl FnOnce(&'a [u8]) -> Parsed<'a, T>,
    ) -> Result<T, FieldError> {
        self.bits_left = 0;
        let (rest, value) = parser(self.rest).map_err(|_| FieldError::Cut(name))?;
        self.rest = rest;
        Ok(value)
    }

    #[inline]
    fn bit(&mut self, name: &'static str) -> Result<bool, FieldError> {
        if self.bits_left == 0 {
            self.bits = self.whole(name, wire::octet)?;
            self.bits_left = 8;
        }
        let bit = self.bits & 1 != 0;
        self.bits >>= 1;
        self.bits_left -= 1;
        Ok(bit)
    }

    /// Nothing may be left behind the last field.
    #[inline]
    pub(super) fn end<M>(&self, method: M) -> Result<M, FieldError> {
        if self.rest.is_empty() { Ok(method) } else { Err(FieldError::Cut(TRAILING)) }
    }
}

/// Where fields are written. Like the reader, it remembers the bits of the last octet.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    bits_used: u8,
}

impl<'o> Writer<'o> {
    #[inline]
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, bits_used: 0 }
    }

    #[inline]
    fn whole<T>(&mut self, value: T, put: impl FnOnce(&mut Vec<u8>, T)) {
        self.bits_used = 0;
        put(self.out, value);
    }

    #[inline]
    fn bit(&mut self, value: bool) {
        if self.bits_used == 0 {
            self.out.push(0);
        }
        if let Some(octet) = self.out.last_mut() {
            *octet |= u8::from(value) << self.bits_used;
        }
        self.bits_used = (self.bits_used + 1) % 8;
    }
}

/// A type that a field can have.
pub(super) trait Field<'a>: Copy {
    fn read(reader: &mut Reader<'a>, name: &'static str) -> Result<Self, FieldError>;
    fn write(self, writer: &mut Writer<'_>);

    /// False only for a short string that is no text.
    #[inline]
    fn is_utf8(&self) -> bool {
        true
    }
}

/// The types that a reader and a writer of [`wire`] are all there is to.
macro_rules! whole_fields {
    ($($type:ty: $read:path, $put:path;)+) => {
        $(impl<'a> Field<'a> for $type {
            #[inline]
            fn read(reader: &mut Reader<'a>, name: &'static str) -> Result<Self, FieldError> {
                reader.whole(name, $read)
            }

            #[inline]
            fn write(self, writer: &mut Writer<'_>) {
                writer.whole(self, $put);
            }
        })+
    };
}

whole_fields! {
    u8: wire::octet, wire::put_octet;
    u16: wire::short, wire::put_short;
    u32: wire::long, wire::put_long;
    u64: wire::longlong, wire::put_longlong;
    &'a [u8]: wire::longstr, wire::put_longstr;
}

impl<'a> Field<'a> for bool {
    #[inline]
    fn read(reader: &mut Reader<'a>, name: &'static str) -> Result<Self, FieldError> {
        reader.bit(name)
    }

    #[inline]
    fn write(self, writer: &mut Writer<'_>) {
        writer.bit(self);
    }
}

impl<'a> Field<'a> for ShortStr<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>, name: &'static str) -> Result<Self, FieldError> {
        reader.whole(name, wire::shortstr)
    }

    #[inline]
    fn write(self, writer: &mut Writer<'_>) {
        writer.whole(self, wire::put_shortstr);
    }

    #[inline]
    fn is_utf8(&self) -> bool {
        self.as_str().is_ok()
    }
}

impl<'a> Field<'a> for Table<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>, name: &'static str) -> Result<Self, FieldError> {
        let before = reader.rest;
        let entries = reader.whole(name, wire::raw_table)?;
        Table::parse(entries).map_err(|error| {
            reader.rest = before;
            FieldError::Table(name, error)
        })
    }

    #[inline]
    fn write(self, writer: &mut Writer<'_>) {
        writer.whole(self, wire::put_table);
    }
}

/// Declares the methods of a class: a struct each, its ids, its reading and its writing. The fields
/// stand in wire order and are all there is to it.
macro_rules! methods {
    ($class_id:literal; $(
        $(#[$doc:meta])+
        $method:ident $(<$life:lifetime>)? = $method_id:literal $name:literal $($content:ident)? {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )+) => {$(
        $(#[$doc])+
        // why: most fields say in their name all that there is to say.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct $method $(<$life>)? {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $(<$life>)? $crate::method::Encode for $method $(<$life>)? {
            const CLASS_ID: u16 = $class_id;
            const METHOD_ID: u16 = $method_id;
            const NAME: &'static str = $name;
            const HAS_CONTENT: bool = methods!(@content $($content)?);

            #[inline]
            fn encode_fields(&self, out: &mut Vec<u8>) {
                #[allow(unused_mut, unused_variables)]
                let mut writer = $crate::method::define::Writer::new(out);
                $($crate::method::define::Field::write(self.$field, &mut writer);)*
            }
        }

        impl<'a> $crate::method::define::Decode<'a> for $method $(<$life>)? {
            #[inline]
            #[allow(unused_variables)]
            fn read_fields(
                reader: &mut $crate::method::define::Reader<'a>,
            ) -> Result<Self, $crate::method::define::FieldError> {
                Ok(Self { $($field: reader.field(stringify!($field))?,)* })
            }

            #[inline]
            fn not_utf8(&self) -> Option<&'static str> {
                $(if !$crate::method::define::Field::is_utf8(&self.$field) {
                    return Some(stringify!($field));
                })*
                None
            }
        }
    )+};
    (@content) => { false };
    (@content with_content) => { true };
}

pub(super) use methods;
