//! Where a scenario is played: a virtual host that no other scenario uses at the same time.

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};

use leveret::Broker;
use serde_json::Value;

use crate::player::{self, Played};
use crate::scenario::{Action, Frame, Scenario};

/// The address of a broker to play against, instead of one in this process.
const ADDRESS: &str = "LEVERET_TRANSCRIPTS";

/// The broker that all scenarios are played against, if it is one that runs already.
pub(crate) fn foreign_broker() -> Option<SocketAddr> {
    let text = std::env::var(ADDRESS).ok()?;
    let mut addresses = text.to_socket_addrs().expect("LEVERET_TRANSCRIPTS is HOST:PORT");
    Some(addresses.next().expect("the host of LEVERET_TRANSCRIPTS has an address"))
}

/// A broker and one of its virtual hosts.
pub(crate) struct Arena {
    pub(crate) address: SocketAddr,
    pub(crate) vhost: String,
    owner: Owner,
}

enum Owner {
    /// The scenario's own broker: what it leaves behind goes with it.
    Scenario(Box<Broker>),
    /// Somebody else's: what the scenario makes is deleted before it and after it.
    Other { queues: BTreeSet<String>, exchanges: BTreeSet<String> },
}

impl Arena {
    /// Makes room for a scenario.
    pub(crate) async fn enter(scenario: &Scenario) -> Result<Self, String> {
        match foreign_broker() {
            Some(address) => Self::of_other(scenario, address).await,
            None => Self::of_its_own(scenario).await,
        }
    }

    async fn of_its_own(scenario: &Scenario) -> Result<Self, String> {
        if !scenario.setup.users.is_empty() {
            return Err("users with permissions cannot be set up".to_owned());
        }
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let broker = Broker::builder().in_memory().listen(anywhere).start().await;
        let broker = broker.map_err(|error| error.to_string())?;
        let address = broker.addresses()[0];
        Ok(Self { address, vhost: "/".to_owned(), owner: Owner::Scenario(Box::new(broker)) })
    }

    async fn of_other(scenario: &Scenario, address: SocketAddr) -> Result<Self, String> {
        let declared = |kind| declared(scenario, kind);
        let (queues, exchanges) = (declared("queue"), declared("exchange"));
        let vhost = "/".to_owned();
        player::clean(address, &vhost, &queues, &exchanges).await?;
        Ok(Self { address, vhost, owner: Owner::Other { queues, exchanges } })
    }

    /// Ends the scenario, and what it has left behind.
    pub(crate) async fn leave(self, played: Played) -> Result<(), String> {
        let made_up = played.close().await;
        match self.owner {
            Owner::Scenario(broker) => broker.shutdown().await.map_err(|error| error.to_string()),
            Owner::Other { mut queues, exchanges } => {
                queues.extend(made_up.into_iter().filter(|name| name.starts_with("amq.gen-")));
                player::clean(self.address, &self.vhost, &queues, &exchanges).await
            }
        }
    }
}

/// The queues or exchanges that the scenario names itself when it declares them.
fn declared(scenario: &Scenario, kind: &str) -> BTreeSet<String> {
    let sent = scenario.steps.iter().flat_map(|step| match &step.action {
        Action::Send { send, .. } => send.as_slice(),
        _ => &[],
    });
    let name = |frame: &Frame| match frame {
        Frame::Method(method) if method.method == format!("{kind}.declare") => {
            method.args.get(kind).and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    };
    let is_own =
        |name: &String| !name.is_empty() && !name.starts_with(['$']) && !name.starts_with("amq.");
    sent.filter_map(name).filter(is_own).collect()
}
