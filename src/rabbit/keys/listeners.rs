//! Where clients are listened for, and TLS.

use super::Row;
use crate::config::UserFrom;
use crate::rabbit::draft::{Draft, Listeners, Socket, TlsDraft};
use crate::rabbit::entry::Entry;
use crate::rabbit::value::{self, Expected, boolean, number};

pub(super) const KEYS: &[Row] = &[
    ("listeners.tcp", |draft, entry| none(&mut draft.tcp, entry)),
    ("listeners.tcp.$name", |draft, entry| listener(&mut draft.tcp, entry)),
    ("listeners.ssl", |draft, entry| none(&mut draft.ssl, entry)),
    ("listeners.ssl.$name", |draft, entry| listener(&mut draft.ssl, entry)),
    ("ssl_options", |draft, entry| tls_none(&mut draft.tls, entry)),
    ("ssl_options.cacertfile", |draft, entry| tls(&mut draft.tls, entry)),
    ("ssl_options.certfile", |draft, entry| tls(&mut draft.tls, entry)),
    ("ssl_options.keyfile", |draft, entry| tls(&mut draft.tls, entry)),
    ("ssl_options.verify", |draft, entry| tls(&mut draft.tls, entry)),
    ("ssl_options.fail_if_no_peer_cert", |draft, entry| tls(&mut draft.tls, entry)),
    ("ssl_options.versions.$version", |draft, entry| version(draft, entry)),
    ("ssl_cert_login_from", |draft, entry| {
        draft.user_from = Some(match entry.value.as_str() {
            "distinguished_name" => UserFrom::DistinguishedName,
            "common_name" => UserFrom::CommonName,
            "subject_alternative_name" | "subject_alt_name" => UserFrom::SubjectAlternativeName,
            _ => {
                let expected = "distinguished_name, common_name or subject_alternative_name";
                return Err(expected.to_owned());
            }
        });
        Ok(())
    }),
    ("management.tcp.port", |draft, entry| port(&mut draft.http, entry)),
    ("management.tcp.ip", |draft, entry| ip(&mut draft.http, entry)),
    ("management.ssl.port", |draft, entry| port(&mut draft.https, entry)),
    ("management.ssl.ip", |draft, entry| ip(&mut draft.https, entry)),
    ("management.ssl.cacertfile", |draft, entry| tls(&mut draft.https_tls, entry)),
    ("management.ssl.certfile", |draft, entry| tls(&mut draft.https_tls, entry)),
    ("management.ssl.keyfile", |draft, entry| tls(&mut draft.https_tls, entry)),
    ("management.ssl.verify", |draft, entry| tls(&mut draft.https_tls, entry)),
    ("management.ssl.fail_if_no_peer_cert", |draft, entry| tls(&mut draft.https_tls, entry)),
    // rabbitmq: these are the older names of the ones above.
    ("management.listener.port", |draft, entry| port(&mut draft.either, entry)),
    ("management.listener.ip", |draft, entry| ip(&mut draft.either, entry)),
    ("management.listener.ssl", |draft, entry| {
        draft.either_is_secured = boolean(&entry.value)?;
        Ok(())
    }),
    ("management.listener.ssl_opts.cacertfile", |draft, entry| tls(&mut draft.https_tls, entry)),
    ("management.listener.ssl_opts.certfile", |draft, entry| tls(&mut draft.https_tls, entry)),
    ("management.listener.ssl_opts.keyfile", |draft, entry| tls(&mut draft.https_tls, entry)),
    ("management.listener.ssl_opts.verify", |draft, entry| tls(&mut draft.https_tls, entry)),
    ("management.listener.ssl_opts.fail_if_no_peer_cert", |draft, entry| {
        tls(&mut draft.https_tls, entry)
    }),
];

fn port(socket: &mut Socket, entry: &Entry) -> Result<(), Expected> {
    socket.port = Some(number(&entry.value, 0, u16::MAX)?);
    socket.said_by = Some(entry.clone());
    Ok(())
}

fn ip(socket: &mut Socket, entry: &Entry) -> Result<(), Expected> {
    socket.ip = Some(value::ip(&entry.value)?);
    socket.said_by = Some(entry.clone());
    Ok(())
}

fn none(listeners: &mut Listeners, entry: &Entry) -> Result<(), Expected> {
    match entry.value.as_str() {
        "none" => {
            listeners.none = Some(entry.place.clone());
            Ok(())
        }
        _ => Err(format!("none (an address is {}.default)", entry.key)),
    }
}

fn listener(listeners: &mut Listeners, entry: &Entry) -> Result<(), Expected> {
    listeners.addresses.push((value::listener(&entry.value)?, entry.clone()));
    Ok(())
}

fn tls_none(tls: &mut TlsDraft, entry: &Entry) -> Result<(), Expected> {
    match entry.value.as_str() {
        "none" => {
            *tls = TlsDraft::default();
            Ok(())
        }
        _ => Err("none".to_owned()),
    }
}

fn tls(tls: &mut TlsDraft, entry: &Entry) -> Result<(), Expected> {
    let text = entry.value.as_str();
    match entry.last_word() {
        "cacertfile" => tls.client_ca = Some(text.into()),
        "certfile" => tls.certificate = Some(text.into()),
        "keyfile" => tls.key = Some(text.into()),
        "verify" => {
            tls.verifies = match text {
                "verify_peer" => true,
                "verify_none" => false,
                _ => return Err("verify_peer or verify_none".to_owned()),
            };
        }
        _ => tls.requires_certificate = boolean(text)?.then(|| entry.clone()),
    }
    Ok(())
}

fn version(draft: &mut Draft, entry: &Entry) -> Result<(), Expected> {
    match entry.value.as_str() {
        "tlsv1" | "tlsv1.1" | "tlsv1.2" | "tlsv1.3" => {
            draft.tls_versions.push(entry.clone());
            Ok(())
        }
        _ => Err("tlsv1.3, tlsv1.2, tlsv1.1 or tlsv1".to_owned()),
    }
}
