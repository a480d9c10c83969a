//! `eval`: the expressions of Erlang that people's scripts and tests evaluate, by their shape.

use hyper::Method;
use serde_json::Value;

use super::context::Context;
use super::outcome::{Failure, Outcome, code};
use super::print::Printed;
use super::spec::{Group, Spec};

pub(super) const SPECS: &[Spec] = &[Spec {
    operands: (0, 1),
    ..Spec::of(
        "eval",
        Group::Operations,
        "<expression>",
        "Does what some expressions of Erlang say that tests use, such as raising an alarm.",
        eval,
    )
}];

/// What is understood, for who writes something else.
const UNDERSTOOD: &str = "rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []}), \
                          rabbit_alarm:clear_alarm({resource_limit, memory, node()}) (and disk), \
                          application:get_env(rabbit, KEY), node(), sums of integers, garbage_collect";

fn eval(it: &mut Context<'_, '_>) -> Outcome {
    let expression = match it.line.rest().first() {
        Some(expression) => expression.clone(),
        None => it.console.read_line().ok_or_else(|| {
            Failure::new(code::DATA, "Expression to evaluate is not provided via argument or stdin")
        })?,
    };
    let shape: String = expression.chars().filter(|letter| !letter.is_whitespace()).collect();
    let shape = shape.strip_suffix('.').unwrap_or(&shape);
    if let Some((resource, is_raised)) = alarm(shape) {
        let method = if is_raised { Method::PUT } else { Method::DELETE };
        it.change(&method, &format!("/leveret/ctl/alarms/{resource}"), None)?;
        return Ok(Printed::line("ok"));
    }
    if shape == "node()" {
        it.get("/leveret/ctl/status")?;
        return Ok(Printed::line(it.node.clone()));
    }
    if let Some(key) =
        shape.strip_prefix("application:get_env(rabbit,").and_then(|it| it.strip_suffix(')'))
    {
        let value = environment(it, key)?;
        return Ok(Printed::line(
            value.map_or("undefined".to_owned(), |value| format!("{{ok,{value}}}")),
        ));
    }
    if shape.starts_with("[garbage_collect(") || shape.starts_with("erlang:garbage_collect(") {
        it.get("/leveret/ctl/status")?;
        return Ok(Printed::line(if shape.ends_with(",ok") { "ok" } else { "true" }));
    }
    if let Some(sum) = sum(shape) {
        return Ok(Printed::line(sum.to_string()));
    }
    let text = format!("leveret cannot evaluate Erlang; it knows: {UNDERSTOOD}");
    Err(Failure::new(code::SOFTWARE, text))
}

/// The resource of which an alarm is raised, or cleared.
fn alarm(shape: &str) -> Option<(&'static str, bool)> {
    let inner = |text: &'static str| move |rest: &str| rest.strip_prefix(text).map(str::to_owned);
    let (rest, is_raised) = match shape.strip_prefix("rabbit_alarm:") {
        Some(rest) => match inner("set_alarm({{resource_limit,")(rest) {
            Some(rest) => (rest.strip_suffix("},[]})")?.to_owned(), true),
            None => {
                (inner("clear_alarm({resource_limit,")(rest)?.strip_suffix("})")?.to_owned(), false)
            }
        },
        None => return None,
    };
    let (resource, node) = rest.split_once(',')?;
    let is_this_node = node == "node()" || node.starts_with('\'');
    match resource {
        "memory" if is_this_node => Some(("memory", is_raised)),
        "disk" if is_this_node => Some(("disk", is_raised)),
        _ => None,
    }
}

/// A value of the configuration, as Erlang writes it.
fn environment(it: &Context<'_, '_>, key: &str) -> Result<Option<String>, Failure> {
    let status = it.get("/leveret/ctl/status")?;
    let number = |value: &Value| value.as_u64().map(|number| number.to_string());
    Ok(match key {
        "disk_free_limit" => number(&status["disk_free_limit"]),
        "vm_memory_high_watermark" => {
            number(&status["memory_limit"]).map(|bytes| format!("{{absolute,{bytes}}}"))
        }
        "consumer_timeout" => number(&status["consumer_timeout_ms"]),
        _ => None,
    })
}

/// The sum of whole numbers.
fn sum(shape: &str) -> Option<i64> {
    let numbers = shape.split('+').map(|number| number.parse::<i64>().ok());
    numbers.sum::<Option<i64>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_understood_by_their_shape() {
        for (shape, meant) in [
            ("rabbit_alarm:set_alarm({{resource_limit,memory,node()},[]})", Some(("memory", true))),
            ("rabbit_alarm:set_alarm({{resource_limit,disk,node()},[]})", Some(("disk", true))),
            ("rabbit_alarm:clear_alarm({resource_limit,disk,node()})", Some(("disk", false))),
            (
                "rabbit_alarm:clear_alarm({resource_limit,memory,'rabbit@h'})",
                Some(("memory", false)),
            ),
            ("rabbit_alarm:set_alarm({{resource_limit,cpu,node()},[]})", None),
            ("rabbit_alarm:get_alarms()", None),
        ] {
            assert_eq!(alarm(shape), meant, "{shape}");
        }
    }

    #[test]
    fn numbers_are_added() {
        assert_eq!((sum("1+1"), sum("7"), sum("1+x"), sum("")), (Some(2), Some(7), None, None));
    }
}
