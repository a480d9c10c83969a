//! TLS: who gets in over it and who does not, logins by certificate, and certificates that are
//! replaced while the broker runs.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::support::certificates::{Authority, Identity};
use crate::support::client::{Client, short};
use crate::support::process::{Ended, Process, leveret};
use crate::support::{PATIENCE, eventually, http};
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use leveret::config::{Pem, Tls, TlsVersions, UserFrom};
use leveret::{Broker, BrokerBuilder};
use leveret_codec::method::connection;
use leveret_codec::{Method, frame};
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion};

type Secure = StreamOwned<ClientConnection, TcpStream>;

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A broker with TLS, and what is needed to connect to it.
struct Fixture {
    broker: Broker,
    authority: Authority,
}

impl Fixture {
    async fn start() -> Self {
        Fixture::start_as(Broker::builder(), |tls, _| tls).await
    }

    /// One that asks clients for certificates of the same authority.
    async fn asking(change: impl FnOnce(Tls) -> Tls) -> Self {
        Fixture::start_as(Broker::builder(), |tls, authority| {
            change(tls.client_ca(Pem::bytes(authority.pem())))
        })
        .await
    }

    async fn start_as(builder: BrokerBuilder, change: impl FnOnce(Tls, &Authority) -> Tls) -> Self {
        let authority = Authority::new("leveret's tests");
        let Identity { certificate, key } = authority.server("broker");
        let tls = change(Tls::new(Pem::bytes(certificate), Pem::bytes(key)), &authority);
        let builder = builder.in_memory().tls(tls).tls_listen("127.0.0.1:0".parse().unwrap());
        let broker = builder.start().await.unwrap();
        assert_eq!(broker.addresses(), []);
        Fixture { broker, authority }
    }

    fn address(&self) -> SocketAddr {
        self.broker.tls_addresses()[0]
    }

    /// A client that shows this certificate, with its handshake of TLS before it.
    fn client(&self, identity: Option<&Identity>) -> Client<Secure> {
        secure(self.address(), self.authority.trusted_by(identity, BOTH))
    }
}

fn secure(address: SocketAddr, config: Arc<ClientConfig>) -> Client<Secure> {
    Client::over(stream(address, config))
}

fn stream(address: SocketAddr, config: Arc<ClientConfig>) -> Secure {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = address.ip().into();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket)
}

const REFUSED: &str = "403 ACCESS_REFUSED - Login was refused using authentication mechanism \
                       EXTERNAL. For details see the broker logfile.";

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_not_wanted_are_turned_away() {
    for (versions, taken, refused) in
        [(TlsVersions::OnlyV13, &TLS13, &TLS12), (TlsVersions::OnlyV12, &TLS12, &TLS13)]
    {
        let fixture = Fixture::start_as(Broker::builder(), |tls, _| tls.versions(versions)).await;
        let [taken, refused] =
            [taken, refused].map(|version| fixture.authority.trusted_by(None, &[version]));
        assert!(secure(fixture.address(), taken).mechanisms().contains("PLAIN"));
        let mut refused = stream(fixture.address(), refused);
        let error = refused.write_all(&frame::PROTOCOL_HEADER).and_then(|()| refused.flush());
        assert!(error.is_err(), "{versions:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_library_works_over_tls() {
    let fixture = Fixture::start().await;
    let uri = format!("amqps://127.0.0.1:{}/%2f", fixture.address().port());
    let config = OwnedTLSConfig { identity: None, cert_chain: Some(fixture.authority.pem()) };
    let connection = connect(&uri, config).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let (declare, fields) = (QueueDeclareOptions::default(), FieldTable::default());
    channel.queue_declare("q".into(), declare, fields).await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    // More than any buffer on the way holds, and nothing.
    let bodies = [vec![7; 5_000_000], Vec::new(), vec![1; 100]];
    for body in &bodies {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let publish = channel.basic_publish("".into(), "q".into(), options, body, properties);
        assert!(publish.await.unwrap().await.unwrap().is_ack());
    }
    for body in &bodies {
        let got = channel.basic_get("q".into(), BasicGetOptions { no_ack: true }).await.unwrap();
        assert!(got.unwrap().data == *body);
    }
    connection.close(200, "".into()).await.unwrap();
    fixture.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_library_logs_in_by_certificate() {
    let fixture = Fixture::asking(|tls| tls.user_from(UserFrom::CommonName)).await;
    let uri = format!("amqps://127.0.0.1:{}/%2f?auth_mechanism=external", fixture.address().port());
    let Identity { certificate, key } = fixture.authority.client("guest");
    let identity = OwnedIdentity::PKCS8 { pem: certificate.into(), key: key.into() };
    let config =
        OwnedTLSConfig { identity: Some(identity), cert_chain: Some(fixture.authority.pem()) };
    let connection = connect(&uri, config).await.unwrap();
    let _channel = connection.create_channel().await.unwrap();
    connection.close(200, "".into()).await.unwrap();
}

async fn connect(uri: &str, config: OwnedTLSConfig) -> lapin::Result<Connection> {
    let runtime = lapin::runtime::default_runtime().unwrap();
    Connection::connect_with_config(uri, ConnectionProperties::default(), config, runtime).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_are_spoken_and_external_needs_an_authority() {
    let fixture = Fixture::start().await;
    for (version, spoken) in
        [(&TLS12, rustls::ProtocolVersion::TLSv1_2), (&TLS13, rustls::ProtocolVersion::TLSv1_3)]
    {
        let config = fixture.authority.trusted_by(None, &[version]);
        let mut client = secure(fixture.address(), config);
        assert_eq!(client.mechanisms(), "PLAIN AMQPLAIN");
        assert_eq!(client.socket().conn.protocol_version(), Some(spoken));
        assert_eq!(client.log_in("PLAIN", b"\0guest\0guest"), Ok(()));
    }
    // A certificate that nobody asked for is not shown, and nobody logs in with it.
    let mut client = fixture.client(Some(&fixture.authority.client("guest")));
    client.mechanisms();
    let start_ok = connection::StartOk {
        client_properties: leveret_codec::Table::EMPTY,
        mechanism: short("EXTERNAL"),
        response: b"",
        locale: short("en_US"),
    };
    client.tell(0, &start_ok).unwrap();
    assert_eq!(client.read().unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_names_the_user() {
    for (from, user) in [
        (UserFrom::CommonName, "orders"),
        (UserFrom::DistinguishedName, "CN=orders,O=Example"),
        (UserFrom::SubjectAlternativeName, "orders.example"),
    ] {
        let fixture = Fixture::asking(|tls| tls.user_from(from)).await;
        let orders = fixture.authority.client("orders");
        let mut client = fixture.client(Some(&orders));
        assert_eq!(client.mechanisms(), "PLAIN AMQPLAIN EXTERNAL");
        assert_eq!(client.log_in("EXTERNAL", b""), Err(REFUSED.to_owned()), "no such user");

        fixture.broker.set_user(user, b"never used", &[]).unwrap();
        let mut client = fixture.client(Some(&orders));
        client.mechanisms();
        assert_eq!(client.log_in("EXTERNAL", b"whoever"), Ok(()));
        // It is not the certificate alone: the virtual host is still closed.
        let refused = client.enter("/");
        assert!(
            matches!(refused.method(), Method::ConnectionClose(close) if close.reply_code == 530)
        );

        let mut other = fixture.client(Some(&fixture.authority.client("other")));
        other.mechanisms();
        assert_eq!(other.log_in("EXTERNAL", b""), Err(REFUSED.to_owned()));
        // The password is as good as before.
        let mut client = fixture.client(Some(&orders));
        client.mechanisms();
        assert_eq!(client.log_in("PLAIN", b"\0guest\0guest"), Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_certificate_has_a_password() {
    let fixture = Fixture::asking(|tls| tls).await;
    let mut client = fixture.client(None);
    assert_eq!(client.mechanisms(), "PLAIN AMQPLAIN EXTERNAL");
    assert_eq!(client.log_in("EXTERNAL", b""), Err(REFUSED.to_owned()));
    let mut client = fixture.client(None);
    client.mechanisms();
    assert_eq!(client.log_in("PLAIN", b"\0guest\0guest"), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_believed_ends_the_handshake() {
    let fixture = Fixture::asking(|tls| tls).await;
    let stranger = Authority::new("somebody else").client("guest");
    let expired = fixture.authority.expired_client("guest");
    for (identity, alert) in [(stranger, "UnknownCA"), (expired, "CertificateExpired")] {
        for version in [&TLS12, &TLS13] {
            let config = fixture.authority.trusted_by(Some(&identity), &[version]);
            assert_eq!(refusal(secure(fixture.address(), config)), alert);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_may_be_demanded() {
    let fixture = Fixture::asking(Tls::require_client_certificate).await;
    assert_eq!(refusal(fixture.client(None)), "CertificateRequired");
    let mut client = fixture.client(Some(&fixture.authority.client("guest")));
    client.mechanisms();
    assert_eq!(client.log_in("PLAIN", b"\0guest\0guest"), Ok(()));
}

/// The alert of a broker that does not let a client in.
fn refusal(mut client: Client<Secure>) -> String {
    // The first may go out before the alert is in, with TLS 1.3.
    let error = client.send(&frame::PROTOCOL_HEADER).and_then(|()| client.read()).unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(alert)) => format!("{alert:?}"),
        _ => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn management_shows_how_a_connection_is_secured() {
    let builder = Broker::builder().management("127.0.0.1:0".parse().unwrap());
    let fixture = Fixture::start_as(builder, |tls, authority| {
        tls.client_ca(Pem::bytes(authority.pem())).user_from(UserFrom::CommonName)
    })
    .await;
    let config = fixture.authority.trusted_by(Some(&fixture.authority.client("guest")), &[&TLS13]);
    let mut client = secure(fixture.address(), config);
    client.mechanisms();
    client.log_in("EXTERNAL", b"").unwrap();
    assert!(matches!(client.enter("/").method(), Method::ConnectionOpenOk(_)));

    let management = fixture.broker.management_address().unwrap();
    let get = |path: &str| -> serde_json::Value {
        let (status, body) = http::request(management, &format!("GET {path}"), "guest:guest", "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let shown = get("/api/connections");
    let [connection] = &shown.as_array().unwrap()[..] else { panic!("{shown}") };
    for (key, value) in [
        ("user", "guest"),
        ("auth_mechanism", "EXTERNAL"),
        ("ssl_protocol", "tlsv1.3"),
        ("ssl_key_exchange", "any"),
        ("ssl_hash", "aead"),
        ("peer_cert_subject", "CN=guest,O=Example"),
    ] {
        assert_eq!(connection[key], value, "{connection}");
    }
    assert_eq!(connection["ssl"], true);
    let overview = get("/api/overview");
    assert_eq!(overview["listeners"][0]["protocol"], "amqp/ssl");
    assert_eq!(overview["listeners"][0]["port"], fixture.address().port());
}

#[tokio::test(flavor = "multi_thread")]
async fn management_may_be_secured() {
    let builder = Broker::builder().management("127.0.0.1:0".parse().unwrap()).management_tls();
    let fixture = Fixture::start_as(builder, |tls, _| tls).await;
    let address = fixture.broker.management_address().unwrap();
    let request = http::text("GET /api/overview", "guest:guest", "");
    for version in [&TLS12, &TLS13] {
        let mut socket = stream(address, fixture.authority.trusted_by(None, &[version]));
        socket.write_all(request.as_bytes()).unwrap();
        let (status, body) = http::answer(socket);
        assert_eq!(status, 200, "{body}");
        let overview: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(overview["listeners"][1]["protocol"], "https");
    }
    // Who speaks HTTP there is told by an alert.
    let mut answer = Vec::new();
    http::send(address, "GET /api/overview", "guest:guest", "").read_to_end(&mut answer).unwrap();
    assert_eq!(answer[0], 0x15, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_end_soon_are_no_good_health() {
    let builder = Broker::builder().management("127.0.0.1:0".parse().unwrap());
    let fixture = Fixture::start_as(builder, |tls, _| tls).await;
    let address = fixture.broker.management_address().unwrap();
    let check = |within: &str| {
        let line = format!("GET /api/health/checks/certificate-expiration/{within}");
        http::request(address, &line, "guest:guest", "")
    };
    assert_eq!(check("10/years"), (200, r#"{"status":"ok"}"#.to_owned()));
    // What rcgen makes ends in the year 4096.
    let (status, body) = check("3000/years");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["reason"]), (503, &"Certificates expiring".into()));
    let expired = &body["expired"][0];
    assert_eq!(
        (&expired["protocol"], body["expired"].as_array().unwrap().len()),
        (&"amqp/ssl".into(), 1)
    );
    assert_eq!(expired["certfile_expires_on"], "4096-01-01T00:00:00.000+00:00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_of_tls_that_never_ends_is_ended() {
    let builder = Broker::builder().handshake_timeout(Duration::from_millis(50));
    let fixture = Fixture::start_as(builder, |tls, _| tls).await;
    let mut silent = TcpStream::connect(fixture.address()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let [certificate, key] = first.server("broker").write(home.path());
    let tls = Tls::new(Pem::file(&certificate), Pem::file(&key));
    let builder = Broker::builder().in_memory().tls(tls);
    let broker = builder.tls_listen("127.0.0.1:0".parse().unwrap()).start().await.unwrap();
    let address = broker.tls_addresses()[0];
    let mut old = secure(address, first.trusted_by(None, BOTH));
    old.mechanisms();

    second.server("broker").write(home.path());
    let right = fs::read(&key).unwrap();
    fs::write(&key, first.server("broker").key).unwrap();
    let error = broker.reload_tls().await.unwrap_err().to_string();
    assert!(error.contains(key.to_str().unwrap()) && error.contains("does not belong"), "{error}");
    secure(address, first.trusted_by(None, BOTH)).mechanisms();

    fs::write(&key, right).unwrap();
    assert!(broker.reload_tls().await.unwrap());
    secure(address, second.trusted_by(None, BOTH)).mechanisms();
    let mut disappointed = secure(address, first.trusted_by(None, BOTH));
    assert!(disappointed.send(&frame::PROTOCOL_HEADER).is_err());
    // Whoever was there stays.
    assert_eq!(old.log_in("PLAIN", b"\0guest\0guest"), Ok(()));
}

#[tokio::test]
async fn der_is_taken_too() {
    let authority = Authority::new("leveret's tests");
    let Identity { certificate, key } = authority.server("broker");
    let tls = Tls::new(Pem::bytes(der(&certificate)), Pem::bytes(der(&key)))
        .client_ca(Pem::bytes(der(&authority.pem())));
    let builder = Broker::builder().in_memory().tls(tls);
    builder.tls_listen("127.0.0.1:0".parse().unwrap()).start().await.unwrap();
}

/// What is between BEGIN and END.
fn der(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    base64::engine::general_purpose::STANDARD.decode(lines.collect::<String>()).unwrap()
}

/// The program with TLS on any port, with this certificate and key, and without the log of what
/// is in order.
fn program([certificate, key]: &[impl AsRef<Path>; 2]) -> Command {
    let mut command = leveret(["--in-memory", "--tls-listen", "127.0.0.1:0"]);
    command.env("LEVERET_LOG", "warn");
    command.arg("--tls-cert").arg(certificate.as_ref()).arg("--tls-key").arg(key.as_ref());
    command
}

fn ready(command: Command) -> (Process, SocketAddr) {
    Process::start(command).ready().unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

fn in_the_log(process: &Process, words: &str) {
    eventually(&format!("the log says {words}"), || process.log().contains(words));
}

#[test]
fn a_hang_up_reads_the_files_again() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let files = first.server("broker").write(home.path());
    let (process, address) = ready(program(&files));
    let line = format!("started TLS (SSL) listener on {address}\n");
    assert!(process.stdout().contains(&line), "{}", process.stdout());
    secure(address, first.trusted_by(None, BOTH)).mechanisms();

    let Identity { certificate, key } = second.server("broker");
    fs::write(&files[0], "nothing").unwrap();
    process.signal(Signal::HUP);
    in_the_log(&process, "the reload failed, what was read before stays: TLS certificate");
    secure(address, first.trusted_by(None, BOTH)).mechanisms();

    fs::write(&files[0], certificate).unwrap();
    fs::write(&files[1], key).unwrap();
    process.signal(Signal::HUP);
    eventually("the second certificate is shown", || {
        let mut client = secure(address, second.trusted_by(None, BOTH));
        client.send(&frame::PROTOCOL_HEADER).is_ok()
    });
    process.signal(Signal::TERM);
    let Ended { status, stderr, .. } = process.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(stderr.matches("ERROR").count(), 1, "{stderr}");
}

#[test]
fn a_hang_up_without_tls_does_nothing() {
    let (process, address) = ready(leveret(["--in-memory", "--listen", "127.0.0.1:0"]));
    process.signal(Signal::HUP);
    in_the_log(&process, "nothing to reload");
    Client::connect(address).close();
}

#[test]
fn who_mistakes_the_port_is_told_and_so_is_the_log() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new("leveret's tests");
    let mut command = program(&authority.server("broker").write(home.path()));
    command.args(["--listen", "127.0.0.1:0"]);
    let (process, plain) = ready(command);
    let (_, secured) = process.stdout().split_once("(SSL) listener on ").unwrap();
    let secured: SocketAddr = secured.lines().next().unwrap().parse().unwrap();

    let mut client = Client::silent(secured);
    client.send(&frame::PROTOCOL_HEADER).unwrap();
    let mut answer = Vec::new();
    client.socket().read_to_end(&mut answer).unwrap();
    assert_eq!(answer[0], 0x15, "an alert: {answer:?}");
    in_the_log(&process, "client does not speak TLS, and this port does");

    let mut client = secure(plain, authority.trusted_by(None, BOTH));
    let error = client.send(&frame::PROTOCOL_HEADER).unwrap_err();
    assert!(error.to_string().contains("corrupt message"), "{error}");
    in_the_log(&process, "client speaks TLS, and this port does not");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new("leveret's tests");
    let [certificate, key] = authority.server("broker").write(home.path());
    let file = |name: &str, content: &str| {
        let path = home.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let empty = file("empty.pem", "");
    let encrypted = file(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let torn = file("torn.pem", &authority.pem()[..200]);
    let damaged =
        file("damaged.pem", "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----");
    let nothing = file("x.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let other_key = file("other.key", &authority.server("other").key);
    let missing = home.path().join("missing.pem");
    for (files, option, culprit, why) in [
        ([&missing, &key], "--tls-cert", &missing, "cannot be read: No such file"),
        ([&empty, &key], "--tls-cert", &empty, "there is no certificate in it"),
        ([&key, &key], "--tls-cert", &key, "there is no certificate in it"),
        ([&torn, &key], "--tls-cert", &torn, "an END line is missing"),
        ([&damaged, &key], "--tls-cert", &damaged, "not base64"),
        ([&nothing, &key], "--tls-cert", &nothing, "the certificate cannot be used"),
        ([&certificate, &missing], "--tls-key", &missing, "cannot be read: No such file"),
        ([&certificate, &certificate], "--tls-key", &certificate, "there is no private key in it"),
        ([&certificate, &encrypted], "--tls-key", &encrypted, "encrypted"),
        ([&certificate, &other_key], "--tls-key", &other_key, "does not belong to the certificate"),
    ] {
        expect_refusal(program(&files), option, culprit, why);
    }
    for (authorities, why) in [
        (&missing, "cannot be read: No such file"),
        (&empty, "there is no certificate in it"),
        (&nothing, "certificate 1 cannot be read"),
    ] {
        let mut command = program(&[&certificate, &key]);
        command.arg("--tls-ca").arg(authorities);
        expect_refusal(command, "--tls-ca", authorities, why);
    }
}

/// The program does not start and says why in a line.
fn expect_refusal(mut command: Command, option: &str, culprit: &Path, why: &str) {
    command.env("LEVERET_LOG", "off");
    let Err(Ended { status, stderr, .. }) = Process::start(command).ready() else {
        panic!("it started with {}", culprit.display());
    };
    assert_eq!((status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    for said in [option, culprit.to_str().unwrap(), why] {
        assert!(stderr.contains(said), "{said} is missing in {stderr}");
    }
}
