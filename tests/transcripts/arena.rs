//! Where a scenario is played: a virtual host that no other scenario uses at the same time.

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};

use leveret::{Broker, VhostError};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::player::{self, Played};
use super::scenario::{Action, Frame, Scenario, User};

/// The address of a broker to play against, instead of one in this process.
const ADDRESS: &str = "LEVERET_TRANSCRIPTS";

/// The broker that all scenarios are played against, if it is one that runs already.
pub(crate) fn foreign_broker() -> Option<SocketAddr> {
    let text = std::env::var(ADDRESS).ok()?;
    let mut addresses = text.to_socket_addrs().expect("LEVERET_TRANSCRIPTS is HOST:PORT");
    Some(addresses.next().expect("the host of LEVERET_TRANSCRIPTS has an address"))
}

/// A virtual host for one scenario.
pub(crate) struct Arena {
    pub(crate) address: SocketAddr,
    pub(crate) vhost: String,
    owner: Owner,
}

enum Owner {
    /// The broker in this process: the virtual host goes, with what the scenario leaves behind.
    Own(&'static Broker),
    /// A broker that somebody uses: what the scenario makes is deleted before it and after it.
    Foreign { queues: BTreeSet<String>, exchanges: BTreeSet<String> },
}

impl Arena {
    /// Makes room for a scenario.
    pub(crate) async fn enter(scenario: &Scenario) -> Result<Self, String> {
        match foreign_broker() {
            Some(address) => Self::in_foreign(scenario, address).await,
            None => Self::in_own(scenario).await,
        }
    }

    async fn in_own(scenario: &Scenario) -> Result<Self, String> {
        let broker = own_broker().await;
        let vhost = scenario.path();
        prepare(broker, &vhost, scenario).map_err(|error| error.to_string())?;
        Ok(Self { address: broker.addresses()[0], vhost, owner: Owner::Own(broker) })
    }

    async fn in_foreign(scenario: &Scenario, address: SocketAddr) -> Result<Self, String> {
        let declared = |kind| declared(scenario, kind);
        let (queues, exchanges) = (declared("queue"), declared("exchange"));
        let vhost = "/".to_owned();
        player::clean(address, &vhost, &queues, &exchanges).await?;
        Ok(Self { address, vhost, owner: Owner::Foreign { queues, exchanges } })
    }

    /// Ends the scenario, and what it has left behind.
    pub(crate) async fn leave(self, played: Played) -> Result<(), String> {
        let made_up = played.close().await;
        match self.owner {
            Owner::Own(broker) => match broker.delete_vhost(&self.vhost).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("the virtual host {} is gone", self.vhost)),
                Err(error) => Err(error.to_string()),
            },
            Owner::Foreign { mut queues, exchanges } => {
                queues.extend(made_up.into_iter().filter(|name| name.starts_with("amq.gen-")));
                player::clean(self.address, &self.vhost, &queues, &exchanges).await
            }
        }
    }
}

/// The one broker of all scenarios.
async fn own_broker() -> &'static Broker {
    static BROKER: OnceCell<Broker> = OnceCell::const_new();
    let start = || async {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let broker = Broker::builder().in_memory().listen(anywhere).start().await;
        broker.expect("a broker in memory starts")
    };
    BROKER.get_or_init(start).await
}

/// Makes the virtual host, and lets in whom the scenario needs.
fn prepare(broker: &Broker, vhost: &str, scenario: &Scenario) -> Result<(), VhostError> {
    broker.create_vhost(vhost)?;
    broker.set_permissions("guest", vhost, ".*", ".*", ".*")?;
    for User { name, password, configure, write, read } in &scenario.setup.users {
        // Users are the same in all scenarios; only their permissions are of a virtual host.
        broker.set_user(name, password.as_bytes(), &[])?;
        if let (Some(configure), Some(write), Some(read)) = (configure, write, read) {
            broker.set_permissions(name, vhost, configure, write, read)?;
        }
    }
    Ok(())
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
