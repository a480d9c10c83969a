//! The user that sends a request, and what it may see.
//!
//! rabbitmq: the tags of a user say what it may do here: `management` its own things,
//! `policymaker` policies and parameters as well, `monitoring` see everything, `administrator` do
//! everything. Without one of these tags nothing.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::Failure;
use super::server::Ends;
use super::{Api, AppState};
use crate::auth::{AuthenticationFailure, Credentials, User};
use crate::broker::access::Rights;

/// The answer to a user that may not have this object.
const NO_OBJECT: &str = "User not authorised to access object";
/// The answer to a user that may not enter this virtual host.
const NO_VHOST: &str = "User not authorised to access virtual host";

/// The name of an operator of this machine, who needs no password and may do everything.
const OPERATOR: &str = "rmq-cli";

/// A user that has logged in and may use the API.
pub(super) struct Caller {
    pub(super) user: User,
    pub(super) ends: Ends,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Api) -> Result<Self, Failure> {
        // invariant: the listener says this of every request.
        let ends = parts.extensions.get::<Ends>().cloned();
        let ends = ends.ok_or_else(|| Failure::internal("the client's address is not known"))?;
        if ends.is_operator {
            // rabbitmq: what its commands do is done by this name.
            let user = User { name: OPERATOR.to_owned(), tags: vec!["administrator".to_owned()] };
            return Ok(Caller { user, ends });
        }
        let credentials = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| basic(value.as_bytes()))
            .ok_or_else(Failure::login_failed)?;
        let name = credentials.user.clone();
        let user = app.authenticate(credentials, ends.peer).await.map_err(|failure| {
            let (peer, user) = (ends.peer, name);
            if ends.log_limit.allows() {
                tracing::warn!(%peer, user, %failure, "HTTP login refused");
            }
            match failure {
                AuthenticationFailure::NotLocal => {
                    Failure::not_authorised("User can only log in via localhost")
                }
                _ => Failure::login_failed(),
            }
        })?;
        ends.slot.protect();
        let caller = Caller { user, ends };
        let tags = ["management", "policymaker", "monitoring", "administrator"];
        if !tags.iter().any(|tag| caller.has_tag(tag)) {
            return Err(Failure::not_authorised("Not management user"));
        }
        Ok(caller)
    }
}

impl Caller {
    fn has_tag(&self, tag: &str) -> bool {
        self.user.tags.iter().any(|had| had == tag)
    }

    pub(super) fn is_administrator(&self) -> bool {
        self.has_tag("administrator")
    }

    /// Whether it may see what other users do.
    pub(super) fn is_monitor(&self) -> bool {
        self.is_administrator() || self.has_tag("monitoring")
    }

    fn is_policymaker(&self) -> bool {
        self.is_administrator() || self.has_tag("policymaker")
    }

    pub(super) fn needs_administrator(&self) -> Result<(), Failure> {
        or(self.is_administrator(), "Not administrator user")
    }

    pub(super) fn needs_monitor(&self) -> Result<(), Failure> {
        or(self.is_monitor(), "Not monitor user")
    }

    /// For what belongs to a virtual host. One that is not there is no secret.
    pub(super) fn needs_vhost(&self, app: &AppState, vhost: &str) -> Result<(), Failure> {
        or(self.is_administrator() || self.may_look_up(app, vhost), NO_VHOST)
    }

    /// For what a monitor may see of every virtual host.
    pub(super) fn needs_sight_of(&self, app: &AppState, vhost: &str) -> Result<(), Failure> {
        or(self.is_monitor() || self.may_look_up(app, vhost), NO_VHOST)
    }

    /// For policies and parameters of a virtual host.
    pub(super) fn needs_policymaker(&self, app: &AppState, vhost: &str) -> Result<(), Failure> {
        let may = self.is_policymaker() && self.may_look_up(app, vhost);
        or(self.is_administrator() || may, NO_OBJECT)
    }

    /// For policies and parameters of no virtual host.
    pub(super) fn needs_policymaker_anywhere(&self) -> Result<(), Failure> {
        or(self.is_policymaker(), NO_OBJECT)
    }

    /// For a look at what belongs to this user.
    pub(super) fn needs_sight_of_user(&self, user: &str) -> Result<(), Failure> {
        or(self.is_monitor() || self.user.name == user, NO_OBJECT)
    }

    /// For an end to what belongs to this user.
    pub(super) fn needs_power_over_user(&self, user: &str) -> Result<(), Failure> {
        or(self.is_administrator() || self.user.name == user, NO_OBJECT)
    }

    /// What it may do in a virtual host.
    pub(super) fn rights(&self, app: &AppState, vhost: &str) -> Rights {
        match self.ends.is_operator {
            true => Rights::default(),
            false => app.vhosts.read_registry(|registry| registry.rights(vhost, &self.user.name)),
        }
    }

    /// Whether it may enter a virtual host.
    pub(super) fn may_enter(&self, app: &AppState, vhost: &str) -> bool {
        let may = || app.vhosts.read_registry(|it| it.may_enter(vhost, &self.user.name));
        self.ends.is_operator || may()
    }

    fn may_look_up(&self, app: &AppState, vhost: &str) -> bool {
        app.vhosts.read_registry(|registry| {
            registry.vhost(vhost).is_none() || registry.may_enter(vhost, &self.user.name)
        })
    }

    /// Whether lists show this user what is in a virtual host.
    pub(super) fn lists_vhost(&self, app: &AppState, vhost: &str) -> bool {
        self.is_administrator() || self.may_look_up(app, vhost)
    }

    /// Whether this user may know that there is such a virtual host.
    pub(super) fn sees_vhost(&self, app: &AppState, vhost: &str) -> bool {
        self.is_monitor() || self.may_look_up(app, vhost)
    }

    /// The only user of whom lists show this one what they do: itself, unless it is a monitor.
    pub(super) fn sees_only(&self) -> Option<String> {
        (!self.is_monitor()).then(|| self.user.name.clone())
    }
}

fn or(may: bool, reason: &'static str) -> Result<(), Failure> {
    if may { Ok(()) } else { Err(Failure::not_authorised(reason)) }
}

/// Reads a header of basic authentication.
fn basic(header: &[u8]) -> Option<Credentials> {
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some(Credentials { mechanism: "PLAIN", user, password: decoded[colon + 1..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_authentication_is_read() {
        let read = basic(b"Basic Z3Vlc3Q6Z3U6ZXN0").unwrap();
        assert_eq!((read.user.as_str(), read.password.as_slice()), ("guest", &b"gu:est"[..]));
        assert!(basic(b"basic  Z3Vlc3Q6Z3U6ZXN0").is_some());
        for wrong in ["", "Basic", "Bearer Z3Vlc3Q6Z3U6ZXN0", "Basic Z3Vlc3Q=", "Basic ?"] {
            assert_eq!(basic(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
