use super::*;
use crate::clock::SystemClock;

#[tokio::test]
async fn an_address_where_nobody_is_accepted_any_more_is_not_active() {
    let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Config::default() };
    let mut server = Server::start(config, Arc::new(SystemClock::new()), None).await.unwrap();
    let address = server.addresses()[0];
    assert!(server.active_listeners().contains(address));
    server.listening[0].abort();
    assert!((&mut server.listening[0]).await.is_err());
    assert!(!server.active_listeners().contains(address));
}
