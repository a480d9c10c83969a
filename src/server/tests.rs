use super::*;
use crate::clock::SystemClock;

#[tokio::test]
async fn an_address_where_nobody_is_accepted_any_more_is_not_active() {
    let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Config::default() };
    let server = Server::start(config, Arc::new(SystemClock::new()), None).await.unwrap();
    let address = server.addresses()[0];
    assert!(server.active_listeners().contains(address));
    server.doors().end_a_listener().await;
    assert!(!server.active_listeners().contains(address));
}

#[tokio::test]
async fn doors_are_closed_and_opened_again_on_the_same_address() {
    let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Config::default() };
    let server = Server::start(config, Arc::new(SystemClock::new()), None).await.unwrap();
    let address = server.addresses()[0];
    assert!(!server.doors().reopen().await.unwrap());
    assert!(server.doors().close().await);
    assert!(!server.doors().close().await);
    assert!(!server.doors().is_open().await && !server.active_listeners().contains(address));
    assert!(TcpStream::connect(address).await.is_err());
    assert!(server.doors().reopen().await.unwrap());
    assert!(server.active_listeners().contains(address));
    TcpStream::connect(address).await.unwrap();
}
