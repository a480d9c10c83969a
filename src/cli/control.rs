//! Where the control socket of a broker is, and what the broker says of itself there.

use std::path::PathBuf;

use super::Options;
use crate::clock::{Clock, SystemClock};
use crate::config::{ControlConfig, MANAGEMENT_PLUGIN, Storage};
use crate::control_socket;
use crate::node_name::default_node_name;
use crate::rabbit::{LogTarget, Node};

/// The plugins that are as good as enabled where the management API is.
const WITH_MANAGEMENT: [&str; 3] =
    [MANAGEMENT_PLUGIN, "rabbitmq_management_agent", "rabbitmq_web_dispatch"];

/// How old a socket is at which nobody is about to listen, in seconds.
const JUST_MADE_SECONDS: i64 = 10;

impl Options {
    /// How operators of this machine reach the broker: by a socket at the place that was asked for or at its usual
    /// one, whose directory is made if it is not there; or not at all.
    pub fn control(&self) -> Option<ControlConfig> {
        let node = self.node.as_ref();
        let socket = match &self.control_socket {
            Some(path) if path.as_os_str().eq_ignore_ascii_case("none") => return None,
            Some(path) => path.clone(),
            None => usual_place(node, &self.storage)?,
        };
        let with_management = WITH_MANAGEMENT.iter().filter(|_| self.management.is_some());
        let plugins = match node {
            Some(node) => node.plugins.clone(),
            None => with_management.map(|&plugin| plugin.to_owned()).collect(),
        };
        Some(ControlConfig {
            socket,
            plugins,
            enabled_plugins_file: node.map(|node| node.enabled_plugins_file.clone()),
            management: self.management.or(node.and_then(|node| node.management)),
            config_files: node.map(|node| node.config_files.clone()).unwrap_or_default(),
            log_file: match &self.log_target {
                LogTarget::File(path) => Some(path.clone()),
                LogTarget::Stderr | LogTarget::Stdout => None,
            },
        })
    }
}

/// Beside the data of a node, where its commands look for it; otherwise where any leveret has its socket.
fn usual_place(node: Option<&Node>, storage: &Storage) -> Option<PathBuf> {
    let name = node.map_or_else(default_node_name, |node| node.name.clone());
    if let (Some(node), Storage::Directory(_)) = (node, storage) {
        let directory = node.data_dir.parent()?;
        return Some(control_socket::path_in(directory, &name));
    }
    let directory = control_socket::usable_directory()?;
    let now = SystemClock::new().now().as_millis() / 1000;
    control_socket::remove_left(&directory, i64::try_from(now).unwrap_or(0) - JUST_MADE_SECONDS);
    let path = control_socket::path_in(&directory, &name);
    match control_socket::connect(&path) {
        // why: several brokers may be there at once, as in tests; each can be reached by its socket.
        Ok(_) => {
            let name = format!("{name}-{}", std::process::id());
            Some(control_socket::path_in(&directory, &name))
        }
        Err(_) => Some(path),
    }
}
