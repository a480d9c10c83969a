//! How a node is, in sections for people and as one object for programs.

use serde_json::{Value, json};

use super::context::Context;
use super::health;
use super::outcome::{Failure, Outcome};
use super::print::Printed;

/// Sections of text, each with a heading.
#[derive(Default)]
struct Sections(String);

impl Sections {
    fn add(&mut self, title: &str, lines: &[String]) {
        self.0.push_str(&format!("\x1b[1m{title}\x1b[0m\n\n"));
        for line in lines {
            self.0.push_str(line);
            self.0.push('\n');
        }
        self.0.push('\n');
    }

    /// The same with a line for nothing.
    fn add_or_none(&mut self, title: &str, lines: &[String]) {
        match lines {
            [] => self.add(title, &["(none)".to_owned()]),
            lines => self.add(title, lines),
        }
    }
}

/// What is asked for a status.
struct Found {
    status: Value,
    node: Value,
    overview: Value,
    vhosts: usize,
    listeners: Vec<Value>,
}

fn find(it: &Context<'_, '_>) -> Result<Found, Failure> {
    Ok(Found {
        status: it.get("/leveret/ctl/status")?,
        node: it.rows("/api/nodes")?.into_iter().next().unwrap_or_default(),
        overview: it.get("/api/overview")?,
        vhosts: it.rows("/api/vhosts?columns=name")?.len(),
        listeners: health::listeners(it)?.iter().map(shown).collect(),
    })
}

/// A listener, as RabbitMQ's commands show it.
fn shown(listener: &Value) -> Value {
    let protocol = listener["protocol"].as_str().unwrap_or_default();
    let interface = listener["ip_address"].as_str().unwrap_or_default();
    let interface = match interface.contains(':') {
        true => format!("[{interface}]"),
        false => interface.to_owned(),
    };
    let purpose = match protocol {
        "amqp" => "AMQP 0-9-1",
        "amqp/ssl" => "AMQP 0-9-1 over TLS",
        "http" => "HTTP API",
        "https" => "HTTP API over TLS (HTTPS)",
        other => other,
    };
    json!({
        "interface": interface,
        "node": listener["node"],
        "port": listener["port"],
        "protocol": protocol,
        "purpose": purpose,
    })
}

fn line_of(shown: &Value) -> String {
    let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
    let (interface, protocol, purpose) = (text("interface"), text("protocol"), text("purpose"));
    format!(
        "Interface: {interface}, port: {}, protocol: {protocol}, purpose: {purpose}",
        shown["port"]
    )
}

/// A listener as a line, from what the API shows of it.
pub(super) fn listener_line(listener: &Value) -> String {
    line_of(&shown(listener))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values.filter_map(|it| it.as_str().map(str::to_owned)).collect()
}

/// Bytes in a unit, as RabbitMQ rounds them.
fn in_unit(bytes: u64, unit: &str) -> String {
    let divisor = match unit {
        "bytes" => return format!("{bytes} bytes"),
        "mb" | "MB" => 1e6,
        "kb" | "KB" => 1e3,
        "tb" | "TB" => 1e12,
        _ => 1e9,
    };
    // why: a size has not so many bytes that a float would be wrong by more than some.
    let rounded = (bytes as f64 / divisor * 10_000.0).round() / 10_000.0;
    format!("{rounded:?} {}", unit.to_lowercase())
}

pub(super) fn status(it: &mut Context<'_, '_>) -> Outcome {
    let Found { status, node, overview, vhosts, listeners } = find(it)?;
    let unit = it.line.value("unit").unwrap_or("gb").to_owned();
    let alarms = texts(&status["alarms"]);
    let bytes = |value: &Value| in_unit(number(value), &unit);
    let (connections, queues) =
        (&overview["object_totals"]["connections"], &overview["object_totals"]["queues"]);
    let files = [text(&status["log_file"])].into_iter().filter(|it| !it.is_empty());
    let mut log_files: Vec<String> = files.map(str::to_owned).collect();
    if log_files.is_empty() {
        log_files.push("<stdout>".to_owned());
    }
    let object = json!({
        "pid": status["pid"],
        "os": "Linux",
        "uptime": number(&status["uptime_ms"]) / 1000,
        "is_under_maintenance": status["running"] == false,
        "rabbitmq_version": status["version"],
        "product_name": status["product"],
        "product_version": status["product_version"],
        "node_name": it.node,
        "erlang_version": "",
        "processes": { "limit": node["proc_total"], "used": node["proc_used"] },
        "run_queue": node["run_queue"],
        "net_ticktime": 60,
        "active_plugins": status["plugins"],
        "enabled_plugin_file": status["enabled_plugins_file"],
        "data_directory": status["data_dir"],
        "config_files": status["config_files"],
        "log_files": log_files,
        "alarms": alarms,
        "memory": { "total": { "rss": node["mem_used"] }, "strategy": "rss", "messages": status["memory_used"] },
        "vm_memory_calculation_strategy": "rss",
        "vm_memory_high_watermark_setting": { "absolute": status["memory_limit"] },
        "vm_memory_high_watermark_limit": status["memory_limit"],
        "file_descriptors": {
            "total_limit": node["fd_total"],
            "total_used": node["fd_used"],
            "sockets_limit": node["sockets_total"],
            "sockets_used": node["sockets_used"],
        },
        "disk_free": node["disk_free"],
        "disk_free_limit": status["disk_free_limit"],
        "totals": { "connection_count": connections, "queue_count": queues, "virtual_host_count": vhosts },
        "listeners": listeners,
    });
    let mut sections = Sections::default();
    sections.add(
        "Runtime",
        &[
            format!("OS PID: {}", status["pid"]),
            "OS: Linux".to_owned(),
            format!("Uptime (seconds): {}", number(&status["uptime_ms"]) / 1000),
            format!("Is under maintenance?: {}", status["running"] == false),
            format!("RabbitMQ version: {}", text(&status["version"])),
            format!("Product: {} {}", text(&status["product"]), text(&status["product_version"])),
            format!("Node name: {}", it.node),
        ],
    );
    let mut plugins = vec![
        format!("Enabled plugin file: {}", text(&status["enabled_plugins_file"])),
        "Enabled plugins:".to_owned(),
        String::new(),
    ];
    let bullets =
        |value: &Value| texts(value).iter().map(|it| format!(" * {it}")).collect::<Vec<_>>();
    plugins.extend(bullets(&status["plugins"]));
    sections.add("Plugins", &plugins);
    let data_dir = status["data_dir"].as_str().unwrap_or("none: all is in memory");
    sections.add("Data directory", &[format!("Node data directory: {data_dir}")]);
    sections.add("Config files", &bullets(&status["config_files"]));
    sections.add("Log file(s)", &log_files.iter().map(|it| format!(" * {it}")).collect::<Vec<_>>());
    let lines = alarms.iter().map(|alarm| match alarm.as_str() {
        "memory" => format!("Memory alarm on node {}", it.node),
        _ => format!("Free disk space alarm on node {}", it.node),
    });
    sections.add_or_none("Alarms", &lines.collect::<Vec<_>>());
    sections.add(
        "Memory",
        &[
            format!("Total memory used: {}", bytes(&node["mem_used"])),
            "Calculation strategy: rss".to_owned(),
            format!(
                "Memory high watermark setting: {} for messages",
                bytes(&status["memory_limit"])
            ),
            format!("Messages: {}", bytes(&status["memory_used"])),
        ],
    );
    sections.add(
        "File Descriptors",
        &[
            format!("Total: {}, limit: {}", number(&node["fd_used"]), number(&node["fd_total"])),
            format!(
                "Sockets: {}, limit: {}",
                number(&node["sockets_used"]),
                number(&node["sockets_total"])
            ),
        ],
    );
    sections.add(
        "Free Disk Space",
        &[
            format!("Low free disk space watermark: {}", bytes(&status["disk_free_limit"])),
            format!("Free disk space: {}", bytes(&node["disk_free"])),
        ],
    );
    sections.add(
        "Totals",
        &[
            format!("Connection count: {connections}"),
            format!("Queue count: {queues}"),
            format!("Virtual host count: {vhosts}"),
        ],
    );
    sections.add("Listeners", &listeners.iter().map(line_of).collect::<Vec<_>>());
    Ok(Printed::Text(sections.0, Some(object)))
}

pub(super) fn listeners(it: &mut Context<'_, '_>) -> Outcome {
    let listeners: Vec<Value> = health::listeners(it)?.iter().map(shown).collect();
    let lines: Vec<String> = listeners.iter().map(|it| line_of(it) + "\n").collect();
    let object = json!({ "listeners": listeners, "node": it.node, "result": "ok" });
    Ok(Printed::Text(lines.concat(), Some(object)))
}

pub(super) fn memory_breakdown(it: &mut Context<'_, '_>) -> Outcome {
    let unit = it.line.value("unit").unwrap_or("gb").to_owned();
    let Found { status, node, .. } = find(it)?;
    let (total, messages) = (number(&node["mem_used"]), number(&status["memory_used"]));
    let parts = [("binary", messages.min(total)), ("other_system", total - messages.min(total))];
    let line = |(name, bytes): (&str, u64)| {
        format!("{name}: {} ({:?}%)\n", in_unit(bytes, &unit), percent(bytes, total))
    };
    let lines: String = parts.into_iter().map(line).collect();
    let share = |bytes: u64| json!({ "bytes": bytes, "percentage": percent(bytes, total) });
    let object = json!({ "binary": share(parts[0].1), "other_system": share(parts[1].1) });
    Ok(Printed::Text(lines + "\n", Some(object)))
}

/// A share in percent, with two digits behind the point.
fn percent(part: u64, whole: u64) -> f64 {
    (10_000.0 * part as f64 / whole.max(1) as f64).round() / 100.0
}

pub(super) fn cluster_status(it: &mut Context<'_, '_>) -> Outcome {
    let Found { status, overview, listeners, .. } = find(it)?;
    let node = it.node.clone();
    let flags = it.rows("/api/feature-flags")?;
    let (name, version) = (text(&overview["cluster_name"]), text(&status["version"]));
    let alarms = texts(&status["alarms"]);
    let object = json!({
        "cluster_name": name,
        "disk_nodes": [node],
        "ram_nodes": [],
        "running_nodes": [node],
        "versions": { &node: { "rabbitmq_version": version, "erlang_version": "", "rabbitmq_name": "leveret" } },
        "maintenance_status": { &node: "not under maintenance" },
        "alarms": alarms,
        "partitions": {},
        "listeners": { &node: listeners },
        "feature_flags": flags,
    });
    let mut sections = Sections::default();
    sections.add("Basics", &[format!("Cluster name: {name}")]);
    sections.add("Disk Nodes", std::slice::from_ref(&node));
    sections.add("Running Nodes", std::slice::from_ref(&node));
    let product = text(&status["product_version"]);
    sections.add("Versions", &[format!("{node}: RabbitMQ {version} by leveret {product}")]);
    sections.add("Maintenance status", &[format!("Node: {node}, status: not under maintenance")]);
    sections.add_or_none("Alarms", &alarms);
    sections.add_or_none("Network Partitions", &[]);
    let listeners = listeners.iter().map(|it| {
        let line = line_of(it);
        format!("Node: {node}, i{}", line.trim_start_matches('I'))
    });
    sections.add("Listeners", &listeners.collect::<Vec<_>>());
    let flag = |it: &Value| format!("Flag: {}, state: {}", text(&it["name"]), text(&it["state"]));
    sections.add("Feature flags", &flags.iter().map(flag).collect::<Vec<_>>());
    Ok(Printed::Text(sections.0, Some(object)))
}

pub(super) fn environment(it: &mut Context<'_, '_>) -> Outcome {
    let status = it.get("/leveret/ctl/status")?;
    let (memory, disk) = (&status["memory_limit"], &status["disk_free_limit"]);
    let text = format!(
        "[{{rabbit,\n     [{{auth_backends,[rabbit_auth_backend_internal]}},\n      \
         {{auth_mechanisms,['PLAIN','AMQPLAIN']}},\n      \
         {{disk_free_limit,{disk}}},\n      \
         {{vm_memory_high_watermark,{{absolute,{memory}}}}}]}}].\n"
    );
    let object = json!({ "rabbit": { "disk_free_limit": disk, "vm_memory_high_watermark": { "absolute": memory } } });
    Ok(Printed::Text(text, Some(object)))
}

/// One command after the other, each with its banner.
pub(super) fn report(it: &mut Context<'_, '_>) -> Outcome {
    let mut whole = String::new();
    for (title, made) in [
        ("Status", status as fn(&mut Context<'_, '_>) -> Outcome),
        ("Cluster status", cluster_status),
        ("Environment", environment),
    ] {
        if let Printed::Text(text, _) = made(it)? {
            whole.push_str(&format!("{title} of node {} ...\n{text}\n", it.node));
        }
    }
    Ok(Printed::Text(whole, None))
}
