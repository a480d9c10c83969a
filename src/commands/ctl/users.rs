//! Users, and what they may do.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::context::{Context, part, reason};
use super::line::{flag, valued};
use super::outcome::{Failure, Outcome, code};
use super::print::{Cell, Printed, Table};
use super::spec::{Group, Spec};
use crate::commands::http::Answer;

use Group::{Access, Users};

pub(super) const SPECS: &[Spec] = &[
    Spec {
        banner: |it, _| format!("Adding user \"{}\" ...", it.operand(0)),
        operands: (1, 2),
        check: |it| match (it.operand(0), it.rest().get(1).map(String::as_str)) {
            ("", _) => Err(bad_argument("user cannot be an empty string")),
            (_, Some("")) => Err(bad_argument("password cannot be an empty string")),
            _ => Ok(()),
        },
        ..Spec::of(
            "add_user",
            Users,
            "<username> <password>",
            "Makes a user, which may do nothing yet.",
            add,
        )
    },
    Spec {
        banner: |it, _| format!("Deleting user \"{}\" ...", it.operand(0)),
        operands: (1, 1),
        ..Spec::of("delete_user", Users, "<username>", "Deletes a user.", delete)
    },
    Spec {
        banner: |it, _| format!("Changing password for user \"{}\" ...", it.operand(0)),
        operands: (1, 2),
        ..Spec::of(
            "change_password",
            Users,
            "<username> <password>",
            "Gives a user another password.",
            change_password,
        )
    },
    Spec {
        banner: |it, _| format!("Clearing password for user \"{}\" ...", it.operand(0)),
        operands: (1, 1),
        ..Spec::of(
            "clear_password",
            Users,
            "<username>",
            "Takes a user's password away: no login by password.",
            clear_password,
        )
    },
    Spec {
        banner: |it, _| format!("Authenticating user \"{}\" ...", it.operand(0)),
        operands: (1, 2),
        ..Spec::of(
            "authenticate_user",
            Users,
            "<username> <password>",
            "Says whether a password is right.",
            authenticate,
        )
    },
    Spec {
        banner: |it, _| {
            let (user, tags) = (it.operand(0), it.rest().get(1..).unwrap_or_default());
            format!("Setting tags for user \"{user}\" to [{}] ...", tags.join(", "))
        },
        operands: (1, usize::MAX),
        ..Spec::of(
            "set_user_tags",
            Users,
            "<username> <tag> [...]",
            "Sets a user's tags; without any, takes them away.",
            set_tags,
        )
    },
    Spec {
        banner: |_, _| "Listing users ...".to_owned(),
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_users",
            Users,
            "[--no-table-headers] [--timeout <timeout>]",
            "Lists users and their tags.",
            list,
        )
    },
    Spec {
        banner: |it, _| {
            format!(
                "Setting user limits to \"{}\" for user \"{}\" ...",
                it.operand(1),
                it.operand(0)
            )
        },
        operands: (2, 2),
        ..Spec::of(
            "set_user_limits",
            Users,
            "<username> <definition>",
            "Limits a user's connections and channels.",
            set_limits,
        )
    },
    Spec {
        banner: |it, _| match it.operand(1) {
            "all" => format!("Clearing all limits for user \"{}\" ...", it.operand(0)),
            limit => format!("Clearing \"{limit}\" limit for user \"{}\" ...", it.operand(0)),
        },
        operands: (2, 2),
        ..Spec::of(
            "clear_user_limits",
            Users,
            "username <limit_type> | all",
            "Takes a user's limits away.",
            clear_limits,
        )
    },
    Spec {
        banner: |it, _| match it.has("global") {
            true => "Listing limits for all users ...".to_owned(),
            false => {
                format!("Listing limits for user \"{}\" ...", it.value("user").unwrap_or("guest"))
            }
        },
        options: &[valued("user"), flag("global"), flag("no-table-headers")],
        ..Spec::of(
            "list_user_limits",
            Users,
            "[--user <username>] [--global]",
            "Lists the limits of users.",
            list_limits,
        )
    },
    Spec {
        banner: |it, _| {
            format!(
                "Setting permissions for user \"{}\" in vhost \"{}\" ...",
                it.operand(0),
                it.vhost()
            )
        },
        operands: (4, 4),
        ..Spec::of(
            "set_permissions",
            Access,
            "[--vhost <vhost>] <username> <conf> <write> <read>",
            "Says what a user may configure, write to and read from.",
            set_permissions,
        )
    },
    Spec {
        banner: |it, _| {
            format!("Setting permissions for user \"{}\" in all vhosts ...", it.operand(0))
        },
        operands: (4, 4),
        ..Spec::of(
            "set_permissions_globally",
            Access,
            "<username> <conf> <write> <read>",
            "The same in all virtual hosts.",
            set_permissions_globally,
        )
    },
    Spec {
        banner: |it, _| {
            format!(
                "Clearing permissions for user \"{}\" in vhost \"{}\" ...",
                it.operand(0),
                it.vhost()
            )
        },
        operands: (1, 1),
        ..Spec::of(
            "clear_permissions",
            Access,
            "[--vhost <vhost>] <username>",
            "Takes a user's permissions away.",
            clear_permissions,
        )
    },
    Spec {
        banner: |it, _| format!("Listing permissions for vhost \"{}\" ...", it.vhost()),
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_permissions",
            Access,
            "[--vhost <vhost>] [--no-table-headers] [--timeout <timeout>]",
            "Lists who may do what in a virtual host.",
            list_permissions,
        )
    },
    Spec {
        banner: |it, _| format!("Listing permissions for user \"{}\" ...", it.operand(0)),
        operands: (1, 1),
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_user_permissions",
            Access,
            "[--no-table-headers] <username>",
            "Lists what a user may do.",
            list_user_permissions,
        )
    },
    Spec {
        banner: |it, _| {
            let (user, exchange, vhost) = (it.operand(0), it.operand(1), it.vhost());
            format!(
                "Setting topic permissions on \"{exchange}\" for user \"{user}\" in vhost \"{vhost}\" ..."
            )
        },
        operands: (4, 4),
        ..Spec::of(
            "set_topic_permissions",
            Access,
            "[--vhost <vhost>] <username> <exchange> <write_pattern> <read_pattern>",
            "Says with which routing keys a user may use a topic exchange.",
            set_topic_permissions,
        )
    },
    Spec {
        banner: |it, _| match it.rest() {
            [user, exchange] => {
                let vhost = it.vhost();
                format!(
                    "Clearing topic permissions on \"{exchange}\" for user \"{user}\" in vhost \"{vhost}\" ..."
                )
            }
            _ => format!(
                "Clearing topic permissions for user \"{}\" in vhost \"{}\" ...",
                it.operand(0),
                it.vhost()
            ),
        },
        operands: (1, 2),
        ..Spec::of(
            "clear_topic_permissions",
            Access,
            "[--vhost <vhost>] <username> [<exchange>]",
            "Takes topic permissions away.",
            clear_topic_permissions,
        )
    },
    Spec {
        banner: |it, _| format!("Listing topic permissions for vhost \"{}\" ...", it.vhost()),
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_topic_permissions",
            Access,
            "[--vhost <vhost>] [--no-table-headers]",
            "Lists the topic permissions of a virtual host.",
            list_topic_permissions,
        )
    },
    Spec {
        banner: |it, _| format!("Listing topic permissions for user \"{}\" ...", it.operand(0)),
        operands: (1, 1),
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_user_topic_permissions",
            Access,
            "[--no-table-headers] <username>",
            "Lists the topic permissions of a user.",
            list_user_topic_permissions,
        )
    },
];

/// An operand that cannot be taken; the usage follows.
fn bad_argument(text: &str) -> Failure {
    Failure { code: code::DATA, ..Failure::usage(format!("Bad argument: {text}")) }
}

fn path(user: &str) -> String {
    format!("/api/users/{}", part(user))
}

/// The password, from the line or from standard input.
fn password(it: &mut Context<'_, '_>, missing: u8) -> Result<String, Failure> {
    if let Some(password) = it.line.rest().get(1) {
        return Ok(password.clone());
    }
    it.console.print("Password: \n");
    let text = "Password is not provided via argument or stdin";
    it.console.read_line().ok_or_else(|| Failure::new(missing, text))
}

fn add(it: &mut Context<'_, '_>) -> Outcome {
    let user = it.line.operand(0).to_owned();
    let password = password(it, code::DATA)?;
    if it.has_user(&user)? {
        return Err(Failure::new(code::SOFTWARE, format!("User \"{user}\" already exists")));
    }
    it.change(&Method::PUT, &path(&user), Some(&json!({ "password": password, "tags": [] })))?;
    let help = "See 'rabbitmqctl help set_permissions' to learn more.";
    if it.line.is_quiet() {
        return Ok(Printed::Nothing);
    }
    Ok(Printed::line(format!(
        "Done. Don't forget to grant the user permissions to some virtual hosts! {help}"
    )))
}

fn delete(it: &mut Context<'_, '_>) -> Outcome {
    let user = it.line.operand(0);
    let answer = it.ask(&Method::DELETE, &path(user), None)?;
    match answer.status {
        StatusCode::NOT_FOUND => Err(Failure::no_user(user)),
        status if status.is_success() => Ok(Printed::Nothing),
        _ => Err(Failure::new(code::SOFTWARE, reason(&answer))),
    }
}

/// The user as it is.
fn user(it: &Context<'_, '_>, name: &str) -> Result<Value, Failure> {
    it.find(&path(name))?.ok_or_else(|| Failure::no_user(name))
}

/// The user with some of it changed.
fn change(it: &Context<'_, '_>, name: &str, changes: &[(&str, Value)]) -> Outcome {
    let found = user(it, name)?;
    let mut body = json!({
        "password_hash": found["password_hash"],
        "hashing_algorithm": found["hashing_algorithm"],
        "tags": found["tags"],
    });
    if let Some(object) = body.as_object_mut() {
        let replaces_password = changes.iter().any(|(key, _)| *key == "password");
        object.retain(|key, _| !(replaces_password && key != "tags"));
        object.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
    it.change(&Method::PUT, &path(name), Some(&body))?;
    Ok(Printed::Nothing)
}

fn change_password(it: &mut Context<'_, '_>) -> Outcome {
    let password = password(it, code::SOFTWARE)?;
    change(it, it.line.operand(0), &[("password", password.into())])
}

fn clear_password(it: &mut Context<'_, '_>) -> Outcome {
    change(it, it.line.operand(0), &[("password_hash", "".into())])
}

fn set_tags(it: &mut Context<'_, '_>) -> Outcome {
    let tags = it.line.rest().get(1..).unwrap_or_default().to_vec();
    change(it, it.line.operand(0), &[("tags", tags.into())])
}

fn authenticate(it: &mut Context<'_, '_>) -> Outcome {
    let user = it.line.operand(0).to_owned();
    let password = password(it, code::DATA)?;
    let body = json!({ "user": user, "password": password });
    let answer = it.change(&Method::POST, "/leveret/ctl/authenticate", Some(&body))?;
    let answer: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer["authenticated"] == true {
        return Ok(Printed::line("Success"));
    }
    let text = format!(
        "Error: failed to authenticate user \"{user}\"\nuser '{user}' - invalid credentials"
    );
    Err(Failure::new(code::DATA, text))
}

fn list(it: &mut Context<'_, '_>) -> Outcome {
    let tags = |user: &Value| {
        let tags = user["tags"].as_array().into_iter().flatten();
        Cell::Names(tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect())
    };
    let users = it.rows("/api/users")?;
    let rows = users.iter().map(|user| vec![Cell::Plain(user["name"].clone()), tags(user)]);
    Ok(table(&["user", "tags"], rows.collect()))
}

/// rabbitmq: makes such a list at once.
fn table(columns: &[&str], rows: Vec<Vec<Cell>>) -> Printed {
    let columns = columns.iter().map(|&column| column.to_owned()).collect();
    Printed::Table(Table { columns, rows, is_made_at_once: true, is_bare: false })
}

/// The limits in a line of the command, as JSON.
pub(super) fn limits(text: &str, of: &str) -> Result<Vec<(String, Value)>, Failure> {
    let value = super::policies::json(text)?;
    let Value::Object(limits) = value else {
        return Err(Failure::new(code::UNAVAILABLE, format!("{of} are an object of JSON")));
    };
    Ok(limits.into_iter().collect())
}

fn set_limits(it: &mut Context<'_, '_>) -> Outcome {
    let name = it.line.operand(0);
    user(it, name)?;
    let limits = limits(it.line.operand(1), "limits")?;
    let known = ["max-connections", "max-channels"];
    if let Some((limit, value)) = limits.iter().find(|(limit, _)| !known.contains(&&**limit)) {
        let text = format!("Unrecognised terms [{{<<\"{limit}\">>,{value}}}] in user-limits");
        return Err(Failure::new(code::UNAVAILABLE, text));
    }
    for (limit, value) in limits {
        let path = format!("/api/user-limits/{}/{}", part(name), part(&limit));
        it.change(&Method::PUT, &path, Some(&json!({ "value": value })))?;
    }
    Ok(Printed::Nothing)
}

fn clear_limits(it: &mut Context<'_, '_>) -> Outcome {
    let name = it.line.operand(0);
    user(it, name)?;
    let limits: Vec<&str> = match it.line.operand(1) {
        "all" => vec!["max-connections", "max-channels"],
        limit => vec![limit],
    };
    for limit in limits {
        let path = format!("/api/user-limits/{}/{}", part(name), part(limit));
        // A limit that there is not is no mistake.
        it.ask(&Method::DELETE, &path, None)?;
    }
    Ok(Printed::Nothing)
}

fn list_limits(it: &mut Context<'_, '_>) -> Outcome {
    let all = it.rows("/api/user-limits")?;
    if it.line.has("global") {
        let rows = all
            .iter()
            .filter(|row| !row["value"].as_object().is_none_or(serde_json::Map::is_empty));
        let row =
            |row: &Value| vec![Cell::Plain(row["user"].clone()), Cell::Json(row["value"].clone())];
        return Ok(table(&["user", "limits"], rows.map(row).collect()));
    }
    let name = it.line.value("user").unwrap_or("guest");
    user(it, name)?;
    let of_user = all.iter().find(|row| row["user"] == name).map(|row| row["value"].clone());
    let limits = of_user.unwrap_or_else(|| json!({})).to_string();
    let object = json!({ "node": it.node, "result": "ok", "value": limits });
    Ok(Printed::Text(format!("{limits}\n"), Some(object)))
}

/// The user and the virtual host must be there.
fn needs_both(it: &Context<'_, '_>, user: &str, vhost: &str) -> Result<(), Failure> {
    if !it.has_user(user)? {
        return Err(Failure::new(code::NO_USER, format!("User {user} does not exist")));
    }
    match it.has_vhost(vhost)? {
        true => Ok(()),
        false => Err(Failure::no_vhost(vhost)),
    }
}

fn permissions(it: &Context<'_, '_>, vhost: &str) -> Outcome {
    let line = it.line;
    let user = line.operand(0);
    needs_both(it, user, vhost)?;
    let path = format!("/api/permissions/{}/{}", part(vhost), part(user));
    let [configure, write, read] = [1, 2, 3].map(|index| line.operand(index));
    let body = json!({ "configure": configure, "write": write, "read": read });
    let answer = it.ask(&Method::PUT, &path, Some(&body))?;
    match answer.status.is_success() {
        true => Ok(Printed::Nothing),
        false => Err(Failure::new(code::UNAVAILABLE, pattern_reason(&answer))),
    }
}

/// Why a pattern is none, as RabbitMQ's commands have it.
fn pattern_reason(answer: &Answer) -> String {
    let reason = reason(answer);
    let parts: Value = serde_json::from_str(&reason).unwrap_or_default();
    match (parts[1].as_str(), parts[2][0].as_str(), &parts[2][1]) {
        (Some(pattern), Some(why), Value::Number(place)) => {
            format!("{{:invalid_regexp, '{pattern}', {{'{why}', {place}}}}}")
        }
        _ => reason,
    }
}

fn set_permissions(it: &mut Context<'_, '_>) -> Outcome {
    permissions(it, it.line.vhost())
}

fn set_permissions_globally(it: &mut Context<'_, '_>) -> Outcome {
    for vhost in it.rows("/api/vhosts")? {
        permissions(it, vhost["name"].as_str().unwrap_or_default())?;
    }
    Ok(Printed::Nothing)
}

fn clear_permissions(it: &mut Context<'_, '_>) -> Outcome {
    let (user, vhost) = (it.line.operand(0), it.line.vhost());
    needs_both(it, user, vhost)?;
    // rabbitmq: a user that has none is no mistake.
    it.ask(&Method::DELETE, &format!("/api/permissions/{}/{}", part(vhost), part(user)), None)?;
    Ok(Printed::Nothing)
}

/// Rows of permissions with these columns.
fn rows_of(it: &Context<'_, '_>, path: &str, columns: &[&str]) -> Outcome {
    let row = |found: &Value| columns.iter().map(|it| Cell::Plain(found[*it].clone())).collect();
    let rows = it.rows(path)?.iter().map(row).collect();
    Ok(table(columns, rows))
}

const PATTERNS: [&str; 4] = ["user", "configure", "write", "read"];

fn list_permissions(it: &mut Context<'_, '_>) -> Outcome {
    let vhost = it.line.vhost();
    it.needs_vhost(vhost)?;
    rows_of(it, &format!("/api/vhosts/{}/permissions", part(vhost)), &PATTERNS)
}

fn needs_user(it: &Context<'_, '_>, user: &str) -> Result<(), Failure> {
    match it.has_user(user)? {
        true => Ok(()),
        false => Err(Failure::new(code::UNAVAILABLE, format!("{{:no_such_user, \"{user}\"}}"))),
    }
}

fn list_user_permissions(it: &mut Context<'_, '_>) -> Outcome {
    let user = it.line.operand(0);
    needs_user(it, user)?;
    let path = format!("{}/permissions", path(user));
    rows_of(it, &path, &["vhost", "configure", "write", "read"])
}

fn set_topic_permissions(it: &mut Context<'_, '_>) -> Outcome {
    let (user, vhost) = (it.line.operand(0), it.line.vhost());
    needs_both(it, user, vhost)?;
    let path = format!("/api/topic-permissions/{}/{}", part(vhost), part(user));
    let [exchange, write, read] = [1, 2, 3].map(|index| it.line.operand(index));
    let body = json!({ "exchange": exchange, "write": write, "read": read });
    it.change(&Method::PUT, &path, Some(&body))?;
    Ok(Printed::Nothing)
}

fn clear_topic_permissions(it: &mut Context<'_, '_>) -> Outcome {
    let (user, vhost) = (it.line.operand(0), it.line.vhost());
    needs_both(it, user, vhost)?;
    let all = format!("/api/topic-permissions/{}/{}", part(vhost), part(user));
    let path = match it.line.operand(1) {
        "" => all,
        exchange => format!("{all}/{}", part(exchange)),
    };
    it.ask(&Method::DELETE, &path, None)?;
    Ok(Printed::Nothing)
}

fn list_topic_permissions(it: &mut Context<'_, '_>) -> Outcome {
    let vhost = it.line.vhost();
    it.needs_vhost(vhost)?;
    let path = format!("/api/vhosts/{}/topic-permissions", part(vhost));
    rows_of(it, &path, &["user", "exchange", "write", "read"])
}

fn list_user_topic_permissions(it: &mut Context<'_, '_>) -> Outcome {
    let user = it.line.operand(0);
    needs_user(it, user)?;
    let path = format!("{}/topic-permissions", path(user));
    let printed = rows_of(it, &path, &["vhost", "exchange", "write", "read"])?;
    Ok(match printed {
        Printed::Table(table) => Printed::Table(Table { is_bare: true, ..table }),
        printed => printed,
    })
}
