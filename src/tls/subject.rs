//! The subject of a certificate, as text.
//!
//! rabbitmq: `rabbit_cert_info`: the form of RFC 4514 with names of its own for some attributes, and
//! with everything escaped that is no printable ASCII.

use std::fmt::Write as _;

use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, ObjectIdentifier};
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use crate::config::UserFrom;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The attributes that have a name; of others the number is shown.
const ATTRIBUTES: [(ObjectIdentifier, &str); 17] = [
    (ObjectIdentifier::new_unwrap("2.5.4.4"), "SN"),
    (ObjectIdentifier::new_unwrap("2.5.4.42"), "GIVENNAME"),
    (ObjectIdentifier::new_unwrap("2.5.4.43"), "INITIALS"),
    (ObjectIdentifier::new_unwrap("2.5.4.44"), "GENERATIONQUALIFIER"),
    (COMMON_NAME, "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.12"), "TITLE"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "SERIALNUMBER"),
    (ObjectIdentifier::new_unwrap("2.5.4.65"), "PSEUDONYM"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"), "EMAILADDRESS"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
];

/// A certificate that has been verified.
pub(super) struct Subject(Certificate);

impl Subject {
    /// Reads a certificate; none when it is one of a kind that is not understood.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        Certificate::from_der(der).ok().map(Subject)
    }

    /// Whom it is for.
    pub(super) fn subject(&self) -> String {
        distinguished_name(self.0.tbs_certificate().subject())
    }

    /// Who says so.
    pub(super) fn issuer(&self) -> String {
        distinguished_name(self.0.tbs_certificate().issuer())
    }

    /// From when to when.
    pub(super) fn validity(&self) -> String {
        let validity = self.0.tbs_certificate().validity();
        format!("{} - {}", validity.not_before, validity.not_after)
    }

    /// The name of the user, if there is one in it.
    pub(super) fn user(&self, from: UserFrom) -> Option<String> {
        let name = match from {
            UserFrom::DistinguishedName => self.subject(),
            UserFrom::CommonName => self.common_name()?,
            UserFrom::SubjectAlternativeName => self.first_dns_name()?,
        };
        Some(name).filter(|name| !name.is_empty())
    }

    /// rabbitmq: several are joined by commas.
    fn common_name(&self) -> Option<String> {
        let all = self.0.tbs_certificate().subject().iter();
        let names = all.filter(|it| it.oid == COMMON_NAME).map(|it| text(&it.value));
        let names: Option<Vec<_>> = names.collect();
        // why: what is no text is no name, and must not become the name of another user.
        names.map(|names| names.join(","))
    }

    fn first_dns_name(&self) -> Option<String> {
        let extension = self.0.tbs_certificate().get_extension::<SubjectAltName>();
        let (_, SubjectAltName(names)) = extension.ok().flatten()?;
        names.iter().find_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
            _ => None,
        })
    }
}

/// spec: RFC 4514, 2.1: the last comes first.
fn distinguished_name(name: &Name) -> String {
    let relative = name.iter_rdn().map(|relative| {
        let all: Vec<_> = relative.iter().map(attribute).collect();
        all.join("+")
    });
    let mut relative: Vec<_> = relative.collect();
    relative.reverse();
    relative.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue) -> String {
    let known = ATTRIBUTES.iter().find(|(oid, _)| *oid == attribute.oid);
    let name = known.map_or_else(|| attribute.oid.to_string(), |(_, name)| (*name).to_owned());
    match text(&attribute.value) {
        Some(value) => format!("{name}={}", escaped(&value)),
        // spec: RFC 4514, 2.4.
        None => {
            let bytes = attribute.value.value().iter();
            bytes.fold(format!("{name}=#"), |mut hex, byte| {
                // A text takes whatever is written to it.
                let _ = write!(hex, "{byte:02x}");
                hex
            })
        }
    }
}

/// A value as text, if it is one.
fn text(value: &Any) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        // rabbitmq: taken for Latin 1.
        Tag::TeletexString => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units = bytes.chunks(2).map(|unit| match *unit {
                [high, low] => Some(u16::from_be_bytes([high, low])),
                _ => None,
            });
            String::from_utf16(&units.collect::<Option<Vec<_>>>()?).ok()
        }
        _ => None,
    }
}

/// spec: RFC 4514, 2.4. rabbitmq: what is no printable ASCII, and `~`, is escaped as well, byte by
/// byte.
fn escaped(value: &str) -> String {
    let last = value.len().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            b'#' if at == 0 => out.push_str("\\#"),
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                out.push('\\');
                out.push(byte.into());
            }
            0x20..=0x7d => out.push(byte.into()),
            _ => {
                // A text takes whatever is written to it.
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType, string::BmpString,
    };

    use super::*;

    fn certified(attributes: &[(DnType, DnValue)], names: &[SanType]) -> Subject {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in attributes {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.subject_alt_names = names.to_vec();
        let key = KeyPair::generate().unwrap();
        Subject::read(params.self_signed(&key).unwrap().der()).unwrap()
    }

    fn utf8(text: &str) -> DnValue {
        DnValue::Utf8String(text.to_owned())
    }

    #[test]
    fn a_distinguished_name_begins_with_its_last_part() {
        let subject = certified(
            &[
                (DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap())),
                (DnType::OrganizationName, utf8("Example, Inc.")),
                (DnType::OrganizationalUnitName, utf8("shop")),
                (DnType::CommonName, utf8("orders")),
            ],
            &[],
        );
        assert_eq!(subject.subject(), "CN=orders,OU=shop,O=Example\\, Inc.,C=DE");
        assert_eq!(subject.issuer(), subject.subject());
        assert_eq!(subject.user(UserFrom::DistinguishedName), Some(subject.subject()));
        assert_eq!(subject.user(UserFrom::CommonName).as_deref(), Some("orders"));
        assert_eq!(subject.user(UserFrom::SubjectAlternativeName), None);
        assert_eq!(subject.validity(), "1975-01-01T00:00:00Z - 4096-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_not_plain_is_escaped_in_a_distinguished_name_alone() {
        for (name, shown) in [
            ("a+b", "CN=a\\+b"),
            ("#a#", "CN=\\#a#"),
            (" a b ", "CN=\\ a b\\ "),
            ("é~", "CN=\\C3\\A9\\7E"),
            ("a\\\"<>;", "CN=a\\\\\\\"\\<\\>\\;"),
        ] {
            let subject = certified(&[(DnType::CommonName, utf8(name))], &[]);
            assert_eq!(subject.subject(), shown);
            assert_eq!(subject.user(UserFrom::CommonName).as_deref(), Some(name));
        }
    }

    #[test]
    fn old_encodings_are_the_same_text() {
        let name = DnValue::BmpString(BmpString::try_from("Zoë").unwrap());
        let subject = certified(&[(DnType::CommonName, name)], &[]);
        assert_eq!(subject.user(UserFrom::CommonName).as_deref(), Some("Zoë"));
        let custom = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 1466, 0]);
        let subject = certified(&[(custom, utf8("x"))], &[]);
        assert_eq!(subject.subject(), "1.3.6.1.4.1.1466.0=x");
    }

    #[test]
    fn the_first_dns_name_may_be_the_user() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let address = SanType::IpAddress([127, 0, 0, 1].into());
        let subject = certified(&[], &[address, dns("orders.example"), dns("b.example")]);
        let user = subject.user(UserFrom::SubjectAlternativeName);
        assert_eq!(user.as_deref(), Some("orders.example"));
        assert_eq!(subject.user(UserFrom::DistinguishedName), None);
        assert_eq!(subject.user(UserFrom::CommonName), None);
    }
}
