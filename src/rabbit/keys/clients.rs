//! Users, definitions, and what bounds clients.

use std::time::Duration;

use super::Row;
use crate::broker::limits;
use crate::rabbit::draft::Draft;
use crate::rabbit::entry::Entry;
use crate::rabbit::value::{Expected, boolean, number, share_of, size};

pub(super) const KEYS: &[Row] = &[
    ("default_user", |draft, entry| text(&mut draft.default_user, entry)),
    ("default_pass", |draft, entry| text(&mut draft.default_pass, entry)),
    ("default_vhost", |draft, entry| text(&mut draft.default_vhost, entry)),
    ("default_user_tags.$tag", |draft, entry| {
        let tags = draft.default_tags.get_or_insert_default();
        if boolean(&entry.value)? {
            tags.push(entry.last_word().to_owned());
        }
        Ok(())
    }),
    ("default_permissions.configure", |draft, entry| {
        text(&mut draft.default_permissions[0], entry)
    }),
    ("default_permissions.write", |draft, entry| text(&mut draft.default_permissions[1], entry)),
    ("default_permissions.read", |draft, entry| text(&mut draft.default_permissions[2], entry)),
    ("loopback_users", |draft, entry| match entry.value.as_str() {
        "none" => {
            draft.no_loopback_users = true;
            Ok(())
        }
        _ => Err("none (a user is loopback_users.NAME = true)".to_owned()),
    }),
    ("loopback_users.$user", |draft, entry| {
        let users = draft.loopback_users.get_or_insert_default();
        if boolean(&entry.value)? {
            users.push(entry.last_word().to_owned());
        }
        Ok(())
    }),
    ("load_definitions", |draft, entry| definitions(draft, entry)),
    ("management.load_definitions", |draft, entry| definitions(draft, entry)),
    ("definitions.local.path", |draft, entry| definitions(draft, entry)),
    ("definitions.import_backend", |_, entry| match entry.value.as_str() {
        "local_filesystem" | "rabbit_definitions_import_local_filesystem" => Ok(()),
        _ => Err("local_filesystem (leveret fetches no definitions from elsewhere)".to_owned()),
    }),
    ("definitions.https.url", |_, _| {
        Err("definitions.local.path (leveret fetches no definitions from elsewhere)".to_owned())
    }),
    ("cluster_name", |draft, entry| text(&mut draft.cluster_name, entry)),
    ("heartbeat", |draft, entry| {
        draft.limits.heartbeat_secs = Some(number(&entry.value, 0, u16::MAX)?);
        Ok(())
    }),
    ("channel_max", |draft, entry| {
        // rabbitmq: 0 is no limit.
        let most = u64::from(u16::MAX);
        let channels = match number(&entry.value, 0, u64::MAX)? {
            0 => most,
            channels => clamped(draft, entry, channels, (1, most)),
        };
        draft.limits.channel_max = u16::try_from(channels).ok();
        Ok(())
    }),
    ("frame_max", |draft, entry| {
        // rabbitmq: 0 is no limit.
        let bounds = (u64::from(limits::FRAME_MIN), u64::from(limits::FRAME_LARGEST));
        let bytes = match size(&entry.value)? {
            0 => bounds.1,
            bytes => clamped(draft, entry, bytes, bounds),
        };
        draft.limits.frame_max = u32::try_from(bytes).ok();
        Ok(())
    }),
    ("max_message_size", |draft, entry| {
        let most = limits::ANNOUNCED_SIZE;
        draft.limits.max_message_size = match size(&entry.value)? {
            bytes if (1..=most).contains(&bytes) => Some(bytes),
            _ => return Err(format!("a size from 1 to {most} bytes")),
        };
        Ok(())
    }),
    ("handshake_timeout", |draft, entry| {
        draft.limits.handshake_timeout = Some(millis(entry, 1)?);
        Ok(())
    }),
    ("consumer_timeout", |draft, entry| {
        draft.limits.consumer_timeout = Some(match entry.value.as_str() {
            // rabbitmq: these in the classic form.
            "undefined" | "infinity" | "false" => Duration::ZERO,
            _ => millis(entry, 1)?,
        });
        Ok(())
    }),
    ("connection_max", |draft, entry| {
        draft.limits.max_connections = count(entry)?;
        Ok(())
    }),
    ("consumer_max_per_channel", |draft, entry| {
        draft.limits.max_consumers_per_channel = count(entry)?;
        Ok(())
    }),
    ("vm_memory_high_watermark.relative", |draft, entry| {
        share_of(&entry.value, 1)?;
        draft.memory_share = Some(entry.clone());
        Ok(())
    }),
    ("vm_memory_high_watermark.absolute", |draft, entry| {
        draft.memory_bytes = Some((size(&entry.value)?, entry.clone()));
        Ok(())
    }),
    ("total_memory_available_override_value", |draft, entry| {
        draft.total_memory = Some(size(&entry.value)?);
        Ok(())
    }),
    ("disk_free_limit.absolute", |draft, entry| {
        draft.limits.disk_free_limit = Some(size(&entry.value)?);
        Ok(())
    }),
    ("disk_free_limit.relative", |draft, entry| {
        share_of(&entry.value, 1)?;
        draft.disk_share = Some(entry.clone());
        Ok(())
    }),
    ("auth_mechanisms.$name", |draft, entry| {
        draft.mechanisms.push(entry.clone());
        Ok(())
    }),
    ("auth_backends.$num", |draft, entry| backend(draft, entry)),
    ("auth_backends.$num.authn", |draft, entry| backend(draft, entry)),
    ("auth_backends.$num.authz", |draft, entry| backend(draft, entry)),
    ("default_queue_type", |draft, entry| match entry.value.as_str() {
        "classic" | "rabbit_classic_queue" => Ok(()),
        "quorum" | "stream" | "rabbit_quorum_queue" | "rabbit_stream_queue" => {
            draft.warn(entry, "a queue of which no type is said is a classic one");
            Ok(())
        }
        _ => Err("classic, quorum or stream".to_owned()),
    }),
    ("deprecated_features.permit.$name", |draft, entry| {
        if !boolean(&entry.value)? {
            draft.warn(entry, "leveret goes on to permit it");
        }
        Ok(())
    }),
    ("proxy_protocol", |draft, entry| {
        if boolean(&entry.value)? {
            draft.warn(entry, "a client that begins with it is refused");
        }
        Ok(())
    }),
];

fn text(target: &mut Option<String>, entry: &Entry) -> Result<(), Expected> {
    *target = Some(entry.value.clone());
    Ok(())
}

fn definitions(draft: &mut Draft, entry: &Entry) -> Result<(), Expected> {
    draft.definitions = Some(entry.value.clone().into());
    Ok(())
}

fn millis(entry: &Entry, least: u64) -> Result<Duration, Expected> {
    Ok(Duration::from_millis(number(&entry.value, least, u64::MAX)?))
}

/// A number, or none for `infinity`.
fn count(entry: &Entry) -> Result<Option<usize>, Expected> {
    match entry.value.as_str() {
        "infinity" => Ok(None),
        text => match number(text, 1, usize::MAX) {
            Ok(count) => Ok(Some(count)),
            Err(_) => Err("a whole number from 1, or infinity".to_owned()),
        },
    }
}

/// The number within leveret's bounds, and a notice when it was outside.
fn clamped(draft: &mut Draft, entry: &Entry, number: u64, (least, most): (u64, u64)) -> u64 {
    let within = number.clamp(least, most);
    if within != number {
        draft.warn(entry, &format!("leveret takes {least} to {most}, and it is {within}"));
    }
    within
}

fn backend(draft: &mut Draft, entry: &Entry) -> Result<(), Expected> {
    if !["internal", "rabbit_auth_backend_internal"].contains(&entry.value.as_str()) {
        draft.warn(entry, "leveret asks its own users alone");
    }
    Ok(())
}
