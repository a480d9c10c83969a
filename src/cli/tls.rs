//! The options for TLS, and what they make together.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};

use super::values::parse_address;
use crate::config::{Pem, Tls, TlsVersions, UserFrom};
use crate::rabbit::{ConfigError, Settings};

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArguments {
    /// Address and port to accept clients on with TLS (amqps); may be given several times. Clients
    /// look for it on port 5671. Without --listen there is no address without TLS then.
    #[arg(
        long,
        value_name = "ADDR",
        env = "LEVERET_TLS_LISTEN",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = parse_address,
    )]
    pub(super) tls_listen: Vec<SocketAddr>,

    /// The broker's certificate in PEM, and behind it those between it and a root.
    #[arg(long, value_name = "FILE", env = "LEVERET_TLS_CERT", hide_env_values = true)]
    tls_cert: Option<PathBuf>,

    /// The private key of that certificate in PEM, not encrypted.
    #[arg(long, value_name = "FILE", env = "LEVERET_TLS_KEY", hide_env_values = true)]
    tls_key: Option<PathBuf>,

    /// Authorities in PEM. Clients are asked for a certificate of one of them, and may log in with
    /// it alone (EXTERNAL). One with another certificate is turned away.
    #[arg(long, value_name = "FILE", env = "LEVERET_TLS_CA", hide_env_values = true)]
    tls_ca: Option<PathBuf>,

    /// Turn clients without a certificate away as well (RabbitMQ's fail_if_no_peer_cert).
    #[arg(
        long,
        env = "LEVERET_TLS_REQUIRE_CLIENT_CERT",
        hide_env_values = true,
        action = ArgAction::Set,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        value_parser = BoolishValueParser::new()
    )]
    tls_require_client_cert: bool,

    /// Speak TLS at --management, with the same certificates: https in the place of http.
    #[arg(
        long,
        env = "LEVERET_MANAGEMENT_TLS",
        hide_env_values = true,
        action = ArgAction::Set,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        value_parser = BoolishValueParser::new()
    )]
    pub(super) management_tls: bool,

    /// What of a client's certificate is the name of its user, where it logs in with EXTERNAL
    /// (RabbitMQ's ssl_cert_login_from): the whole subject, as in CN=orders,O=Example, its common
    /// name, or the first DNS name of its alternative names. [default: distinguished-name]
    #[arg(long, value_name = "PART", env = "LEVERET_TLS_USER_FROM", hide_env_values = true)]
    tls_user_from: Option<UserFromArgument>,

    /// What a configuration says; there is no option for it.
    #[arg(skip)]
    versions: TlsVersions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum UserFromArgument {
    #[value(name = "distinguished-name", aliases = ["dn", "distinguished_name"])]
    Distinguished,
    #[value(name = "common-name", aliases = ["cn", "common_name"])]
    Common,
    #[value(
        name = "subject-alternative-name",
        aliases = ["san", "subject_alternative_name", "subject_alt_name"]
    )]
    Alternative,
}

impl TlsArguments {
    /// Takes from a configuration what neither an option nor a variable says.
    ///
    /// # Errors
    /// When the configuration lacks something for TLS that no option says.
    pub(super) fn fill(
        &mut self,
        settings: &Settings,
        is_default: impl Fn(&str) -> bool,
    ) -> Result<(), ConfigError> {
        if self.tls_listen.is_empty() {
            self.tls_listen.clone_from(&settings.tls_listen);
        }
        let from = &settings.tls;
        self.versions = from.versions;
        self.tls_cert = self.tls_cert.take().or_else(|| from.certificate.clone());
        self.tls_key = self.tls_key.take().or_else(|| from.key.clone());
        self.tls_ca = self.tls_ca.take().or_else(|| from.client_ca.clone());
        if is_default("tls_require_client_cert") {
            self.tls_require_client_cert = from.require_client_certificate;
        }
        if is_default("management_tls") {
            self.management_tls = settings.management_tls;
        }
        self.tls_user_from = self.tls_user_from.or(from.user_from.map(|part| match part {
            UserFrom::DistinguishedName => UserFromArgument::Distinguished,
            UserFrom::CommonName => UserFromArgument::Common,
            UserFrom::SubjectAlternativeName => UserFromArgument::Alternative,
        }));
        let is_whole = self.tls_cert.is_some() && self.tls_key.is_some();
        let lacks_ca = from.certificate.is_some() && from.key.is_some() && self.tls_ca.is_none();
        match &from.missing {
            Some(missing) if !is_whole || lacks_ca => Err(missing.clone()),
            _ => Ok(()),
        }
    }

    /// What was asked for; none when TLS was not.
    ///
    /// # Errors
    /// In a line that names the option that is missing.
    pub(super) fn tls(self, has_management: bool) -> Result<Option<Tls>, String> {
        if self.management_tls && !has_management {
            return Err("--management-tls needs --management (LEVERET_MANAGEMENT)".to_owned());
        }
        if self.tls_listen.is_empty() && !self.management_tls {
            return match self.first_given() {
                None => Ok(None),
                Some(given) => Err(format!(
                    "{given} needs --tls-listen (LEVERET_TLS_LISTEN), such as --tls-listen \
                     127.0.0.1:5671, or --management-tls"
                )),
            };
        }
        let (Some(certificate), Some(key)) = (self.tls_cert, self.tls_key) else {
            let asked =
                if self.tls_listen.is_empty() { "--management-tls" } else { "--tls-listen" };
            return Err(format!(
                "{asked} needs --tls-cert and --tls-key (LEVERET_TLS_CERT and LEVERET_TLS_KEY)"
            ));
        };
        if self.tls_ca.is_none() {
            let given = [
                (self.tls_require_client_cert, "--tls-require-client-cert"),
                (self.tls_user_from.is_some(), "--tls-user-from"),
            ];
            if let Some((_, given)) = given.iter().find(|(is_given, _)| *is_given) {
                return Err(format!("{given} needs --tls-ca (LEVERET_TLS_CA)"));
            }
        }
        Ok(Some(Tls {
            certificate: Pem::File(certificate),
            key: Pem::File(key),
            client_ca: self.tls_ca.map(Pem::File),
            require_client_certificate: self.tls_require_client_cert,
            versions: self.versions,
            user_from: match self.tls_user_from {
                None | Some(UserFromArgument::Distinguished) => UserFrom::DistinguishedName,
                Some(UserFromArgument::Common) => UserFrom::CommonName,
                Some(UserFromArgument::Alternative) => UserFrom::SubjectAlternativeName,
            },
        }))
    }

    fn first_given(&self) -> Option<&'static str> {
        let given = [
            (self.tls_cert.is_some(), "--tls-cert"),
            (self.tls_key.is_some(), "--tls-key"),
            (self.tls_ca.is_some(), "--tls-ca"),
            (self.tls_require_client_cert, "--tls-require-client-cert"),
            (self.tls_user_from.is_some(), "--tls-user-from"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, option)| option)
    }
}
