//! What is the matter with certificates that can be used all the same, and what is too weak to be used.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Reader, SliceReader};

use super::subject::Subject;
use crate::broker::time::Time;

/// A certificate that ends so soon is told, in days.
const SOON_DAYS: u64 = 14;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Keys of RSA that are shorter, in bits, are believed by no library any more.
pub(super) const LEAST_RSA_BITS: usize = 2048;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Ways to sign that clients do not believe any more.
const WEAK_SIGNATURES: [(ObjectIdentifier, &str); 4] = [
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"), "MD5"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"), "SHA-1"),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"), "SHA-1"),
    (ObjectIdentifier::new_unwrap("1.2.840.10040.4.3"), "SHA-1"),
];

/// What an operator should know of these certificates, each in a line.
pub(super) fn weaknesses(chain: &[CertificateDer<'_>], now: Time) -> Vec<String> {
    let read = chain
        .iter()
        .filter_map(|der| Some((Certificate::from_der(der).ok()?, Subject::read(der)?.subject())));
    read.flat_map(|(certificate, subject)| {
        let found = [validity(&certificate, now), signature(&certificate)];
        let found = found.into_iter().flatten();
        found.map(|what| format!("the certificate of {subject} {what}")).collect::<Vec<_>>()
    })
    .collect()
}

/// When the first of these certificates ends.
pub(super) fn end(chain: &[CertificateDer<'_>]) -> Option<Time> {
    let read = chain.iter().filter_map(|der| Certificate::from_der(der).ok());
    read.map(|certificate| Time::from_millis(ends_ms(&certificate))).min()
}

fn ends_ms(certificate: &Certificate) -> u64 {
    certificate.tbs_certificate().validity().not_after.to_unix_duration().as_millis() as u64
}

fn validity(certificate: &Certificate, now: Time) -> Option<String> {
    let validity = certificate.tbs_certificate().validity();
    let millis = |time: x509_cert::time::Time| time.to_unix_duration().as_millis() as u64;
    let (from, until) = (millis(validity.not_before), millis(validity.not_after));
    let now = now.as_millis();
    let days = until.saturating_sub(now) / DAY_MS;
    if until <= now {
        Some(format!("has expired: it was valid until {}", validity.not_after))
    } else if now < from {
        Some(format!("is not valid before {}", validity.not_before))
    } else if days < SOON_DAYS {
        Some(format!("expires in {days} days, at {}", validity.not_after))
    } else {
        None
    }
}

/// why: not of one that signed itself, whose signature nobody looks at.
fn signature(certificate: &Certificate) -> Option<String> {
    let body = certificate.tbs_certificate();
    let signed_by = certificate.signature_algorithm().oid;
    let (_, name) = WEAK_SIGNATURES.iter().find(|(weak, _)| *weak == signed_by)?;
    let is_root = body.subject() == body.issuer();
    (!is_root).then(|| format!("is signed with {name}, which clients do not believe any more"))
}

/// How many bits the key of the first certificate has, if it is one of RSA.
pub(super) fn rsa_bits(chain: &[CertificateDer<'_>]) -> Option<usize> {
    let certificate = Certificate::from_der(chain.first()?).ok()?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    if key.algorithm.oid != RSA {
        return None;
    }
    let bytes = key.subject_public_key.as_bytes()?;
    let mut reader = SliceReader::new(bytes).ok()?;
    let modulus = reader.sequence(|reader| -> Result<_, x509_cert::der::Error> {
        let modulus = UintRef::decode(reader)?.as_bytes().to_vec();
        UintRef::decode(reader)?;
        Ok(modulus)
    });
    let modulus = modulus.ok()?;
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    Some(modulus.len() * 8 - leading)
}
