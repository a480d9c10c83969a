//! What commands there are, and how each is used.

use super::context::Context;
use super::line::{Line, OptionSpec};
use super::outcome::{Failure, Outcome};
use super::{definitions, eval, health, lists, node, plugins, policies, queues, users, vhosts};
use crate::commands::Program;

/// Does what a command is for.
type Run = fn(&mut Context<'_, '_>) -> Outcome;

/// A command.
#[derive(Clone, Copy)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) group: Group,
    /// What stands behind its name.
    pub(super) usage: &'static str,
    /// What it is good for, in a sentence.
    pub(super) about: &'static str,
    /// The programs that have it.
    pub(super) programs: &'static [Program],
    /// The fewest and the most operands behind it.
    pub(super) operands: (usize, usize),
    /// The options that not all commands have.
    pub(super) options: &'static [OptionSpec],
    /// Looks at the line before anything is said or done.
    pub(super) check: fn(&Line) -> Result<(), Failure>,
    /// What is said before it is done, of the node of this name; nothing for nothing.
    pub(super) banner: fn(&Line, &str) -> String,
    pub(super) run: Run,
}

impl Spec {
    /// A command of `rabbitmqctl` with no operands, no options of its own, and nothing that is said before.
    pub(super) const fn of(
        name: &'static str,
        group: Group,
        usage: &'static str,
        about: &'static str,
        run: Run,
    ) -> Spec {
        Spec {
            name,
            group,
            usage,
            about,
            programs: &[Program::Ctl],
            operands: (0, 0),
            options: &[],
            check: |_| Ok(()),
            banner: |_, _| String::new(),
            run,
        }
    }
}

/// The part of the help that a command stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Help,
    Nodes,
    Cluster,
    Replication,
    Users,
    Access,
    Monitoring,
    Parameters,
    Policies,
    Vhosts,
    Configuration,
    Definitions,
    FeatureFlags,
    Plugins,
    Operations,
    Queues,
}

impl Group {
    fn title(self) -> &'static str {
        match self {
            Group::Help => "Help",
            Group::Nodes => "Nodes",
            Group::Cluster => "Cluster",
            Group::Replication => "Replication",
            Group::Users => "Users",
            Group::Access => "Access Control",
            Group::Monitoring => "Monitoring, observability and health checks",
            Group::Parameters => "Parameters",
            Group::Policies => "Policies",
            Group::Vhosts => "Virtual hosts",
            Group::Configuration => "Configuration and Environment",
            Group::Definitions => "Definitions",
            Group::FeatureFlags => "Feature flags",
            Group::Plugins => "Plugins",
            Group::Operations => "Operations",
            Group::Queues => "Queues",
        }
    }
}

/// All commands of a program.
pub(super) fn of(program: Program) -> impl Iterator<Item = &'static Spec> {
    let all = [
        node::HELP,
        node::SPECS,
        node::OTHERS,
        users::SPECS,
        vhosts::SPECS,
        policies::SPECS,
        lists::SPECS,
        queues::SPECS,
        definitions::SPECS,
        eval::SPECS,
        health::SPECS,
        plugins::SPECS,
    ];
    all.into_iter().flatten().filter(move |spec| spec.programs.contains(&program))
}

/// The command of this name.
pub(super) fn find(program: Program, name: &str) -> Option<&'static Spec> {
    of(program).find(|spec| spec.name == name)
}

/// How a command is used.
pub(super) fn usage(program: Program, spec: &Spec) -> String {
    let name = program.name();
    let all =
        format!("{name} [--node <node>] [--longnames] [--quiet] {} {}", spec.name, spec.usage);
    format!("\n\x1b[1mUsage\x1b[0m\n\n{}\n", all.trim_end())
}

/// How a program is used.
pub(super) fn help(program: Program) -> String {
    let name = program.name();
    let mut specs: Vec<&Spec> = of(program).collect();
    specs.sort_by_key(|spec| (spec.group, spec.name));
    let width = specs.iter().map(|spec| spec.name.len()).max().unwrap_or_default();
    let mut text = format!(
        "\n\x1b[1mUsage\x1b[0m\n\n{name} [--node <node>] [--timeout <timeout>] [--longnames] [--quiet] <command> \
         [<command options>]\n\nAvailable commands:\n"
    );
    let mut group = None;
    for spec in specs {
        if group.replace(spec.group) != Some(spec.group) {
            text.push_str(&format!("\n\x1b[1m{}\x1b[0m:\n\n", spec.group.title()));
        }
        text.push_str(&format!("   {:width$}  {}\n", spec.name, spec.about));
    }
    text + &format!("\nUse '{name} help <command>' to learn more about a specific command\n")
}

/// The command that was meant by a name that is none.
pub(super) fn nearest(program: Program, name: &str) -> Option<&'static str> {
    crate::rabbit::nearest(name, of(program).map(|spec| spec.name))
}
