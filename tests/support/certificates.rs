//! Certificates that are made as a test needs them, and what goes with them on the client's side.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// An authority that signs what it is asked to.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("the system has random numbers");
        Authority(CertifiedIssuer::self_signed(params, key).expect("the parameters are sound"))
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server on this machine.
    pub(crate) fn server(&self, name: &str) -> Identity {
        self.sign(name, &["localhost", "127.0.0.1"], |_| {})
    }

    /// The same, out of date.
    pub(crate) fn expired_server(&self, name: &str) -> Identity {
        let change = |params: &mut CertificateParams| params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(name, &["localhost"], change)
    }

    /// A certificate for a client with this common name, and this one for its DNS name.
    pub(crate) fn client(&self, name: &str) -> Identity {
        self.sign(name, &[&format!("{name}.example")], |_| {})
    }

    /// A certificate for a client, out of date.
    pub(crate) fn expired_client(&self, name: &str) -> Identity {
        self.sign(name, &[], |params| params.not_after = date_time_ymd(2001, 1, 1))
    }

    fn sign(
        &self,
        name: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are sound");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().expect("the system has random numbers");
        let certificate = params.signed_by(&key, &self.0).expect("the parameters are sound");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// What a client trusts that trusts this authority alone, and what it shows.
    pub(crate) fn trusted_by(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("it is a certificate");
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider knows them")
            .with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("it is PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it is PEM");
                builder.with_client_auth_cert(chain, key).expect("they belong together")
            }
        })
    }
}

impl Identity {
    /// Writes both to files, replacing what was there; returns where.
    pub(crate) fn write(&self, directory: &Path) -> [PathBuf; 2] {
        let [certificate, key] = ["server.pem", "server.key"].map(|name| directory.join(name));
        std::fs::write(&certificate, &self.certificate).expect("the directory is the test's own");
        std::fs::write(&key, &self.key).expect("the directory is the test's own");
        [certificate, key]
    }
}
