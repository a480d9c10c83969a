//! What each word does.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::super::Console;
use super::super::json::Json;
use super::super::server::quoted;
use super::api::Api;
use super::kinds::{CLOSED, DECLARED, DELETED, Kind, LISTED, Listed, MESSAGES, PURGED, SHOWN};
use super::request::Request;
use super::settings::Settings;
use super::{Ended, Words, failed_file, formats, help, read};

/// The largest message that is read from standard input, in bytes.
const PAYLOAD_BYTES: u64 = 1 << 30;

/// One call of a word.
pub(super) struct Call<'a, 'b> {
    pub(super) api: Api,
    pub(super) settings: &'a Settings,
    pub(super) console: &'a mut Console<'b>,
}

/// What a word does with those behind it.
pub(super) type Deed = fn(&mut Call<'_, '_>, &Words) -> Result<(), Ended>;

/// What this word does.
pub(super) fn find(verb: &str) -> Option<Deed> {
    Some(match verb {
        "help" => show_help,
        "list" => list,
        "show" => show,
        "declare" => declare,
        "delete" => |call, words| call.delete(words, DELETED, "deleted"),
        "close" => |call, words| call.delete(words, CLOSED, "closed"),
        "purge" => |call, words| call.delete(words, PURGED, "purged"),
        "publish" => publish,
        "get" => get,
        "export" => export,
        "import" => import,
        _ => return None,
    })
}

impl Call<'_, '_> {
    /// Prints what was done, unless it is to be quiet.
    fn tell(&mut self, text: &str) {
        if self.settings.verbose {
            self.console.print(format!("{text}\n"));
        }
    }

    fn print_list(&mut self, list: &str, columns: &[String], json: &[&str]) -> Result<(), Ended> {
        formats::print(list, columns, json, self.settings, self.console)
    }

    fn delete(&mut self, words: &Words, kinds: &[Kind], done: &str) -> Result<(), Ended> {
        let (kind, request) = self.request(words, kinds)?;
        self.api.delete(&request.path)?;
        self.tell(&format!("{kind} {done}"));
        Ok(())
    }

    /// The kind of object that the words name, and what is to be sent.
    fn request(&self, words: &Words, kinds: &[Kind]) -> Result<(&'static str, Request), Ended> {
        let Some((name, words)) = words.split_first() else {
            return Err(Ended::usage("Type not specified"));
        };
        let Some(kind) = kinds.iter().find(|kind| kind.name == name) else {
            return Err(Ended::usage(format!("Type {name} not recognised")));
        };
        Ok((kind.name, Request::parse(words, kind, self.settings)?))
    }

    /// The definitions, of one virtual host if one is asked for.
    fn definitions(&self) -> String {
        match &self.settings.vhost {
            Some(vhost) => format!("/definitions/{}", quoted(vhost)),
            None => "/definitions".to_owned(),
        }
    }
}

fn only(words: &Words) -> Result<&str, Ended> {
    match words {
        [word] => Ok(word),
        _ => Err(Ended::usage("Exactly one argument required")),
    }
}

fn show_help(call: &mut Call<'_, '_>, words: &Words) -> Result<(), Ended> {
    if words.is_empty() {
        help::print(call.console);
        return Err(Ended::Well);
    }
    let text = match only(words)? {
        "subcommands" => help::subcommands(),
        "config" => help::config(),
        _ => return Err(Ended::usage("help topic must be one of:\n  subcommands\n  config")),
    };
    call.console.print(format!("{text}\n"));
    Ok(())
}

fn list(call: &mut Call<'_, '_>, words: &Words) -> Result<(), Ended> {
    let (path, columns, json) = list_path(call, words, LISTED, "list")?;
    let list = call.api.get(&path)?;
    call.print_list(&list, &columns, json)
}

fn show(call: &mut Call<'_, '_>, words: &Words) -> Result<(), Ended> {
    let (path, columns, json) = list_path(call, words, SHOWN, "show")?;
    let shown = call.api.get(&path)?;
    call.print_list(&format!("[{shown}]"), &columns, json)
}

/// Where a list is, and its columns.
fn list_path(
    call: &Call<'_, '_>,
    words: &Words,
    kinds: &'static [Listed],
    verb: &str,
) -> Result<(String, Vec<String>, &'static [&'static str]), Ended> {
    let Some((name, columns)) = words.split_first() else {
        return Err(Ended::usage("Type not specified"));
    };
    let Some(kind) = kinds.iter().find(|kind| kind.name == name) else {
        return Err(Ended::usage(format!("Don't know how to {verb} {name}")));
    };
    let settings = call.settings;
    let mut path = format!("/{}", kind.name.replace('_', "-"));
    if let Some(vhost) = settings.vhost.as_ref().filter(|_| kind.by_vhost) {
        path.push('/');
        path.push_str(&quoted(vhost));
    }
    // rabbitmq: who asks for a depth, even for the usual one, gets all columns.
    let has_usual = settings.depth.is_none() && !settings.format.contains("json");
    let columns = match columns {
        [] if has_usual => kind.columns.iter().map(|column| (*column).to_owned()).collect(),
        columns => columns.to_vec(),
    };
    let mut query = Vec::new();
    if !columns.is_empty() {
        query.push(format!("columns={}", columns.join(",")));
    }
    if let Some(sort) = &settings.sort {
        query.push(format!("sort={sort}"));
    }
    if settings.sort_reverse {
        query.push("sort_reverse=true".to_owned());
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    Ok((path, columns, kind.json))
}

fn declare(call: &mut Call<'_, '_>, words: &Words) -> Result<(), Ended> {
    let (kind, request) = call.request(words, DECLARED)?;
    let path = request.path.clone();
    let body = request.into_body();
    match kind {
        "binding" => call.api.post(&path, body.to_line().as_bytes())?,
        _ => call.api.put(&path, &body)?,
    };
    call.tell(&format!("{kind} declared"));
    Ok(())
}

/// The request of a word for messages.
fn message_request(call: &Call<'_, '_>, verb: &str, words: &Words) -> Result<Request, Ended> {
    let kind = MESSAGES.iter().find(|kind| kind.name == verb);
    let kind = kind.ok_or_else(|| Ended::usage(format!("Action {verb} not understood")))?;
    Request::parse(words, kind, call.settings)
}

fn publish(call: &mut Call<'_, '_>, words: &Words) -> Result<(), Ended> {
    let mut request = message_request(call, "publish", words)?;
    if request.get("payload").is_none() {
        let payload = call.console.read_to_end(PAYLOAD_BYTES).unwrap_or_default();
        request.set("payload", Json::Text(STANDARD.encode(payload)));
        request.set("payload_encoding", Json::text("base64"));
    }
    let path = request.path.clone();
    let answer = call.api.post(&path, request.into_body().to_line().as_bytes())?;
    let routed = Json::parse(&answer).and_then(|json| json.get("routed").cloned());
    match routed {
        Some(Json::Bool(true)) => call.tell("Message published"),
        _ => call.tell("Message published but NOT routed"),
    }
    Ok(())
}

fn get(call: &mut Call<'_, '_>, words: &Words) -> Result<(), Ended> {
    let request = message_request(call, "get", words)?;
    let file = request.text("payload_file").filter(|file| !file.is_empty()).map(str::to_owned);
    if file.is_some() && request.text("count") != Some("1") {
        return Err(Ended::usage("Cannot get multiple messages using payload_file"));
    }
    let path = request.path.clone();
    let list = call.api.post(&path, request.into_body().to_line().as_bytes())?;
    let Some(file) = file else { return call.print_list(&list, &[], &[]) };
    let messages = Json::parse(&list).unwrap_or(Json::Null);
    let Some(message) = messages.elements().first() else {
        // rabbitmq: the script fails here without a word of its own.
        return Err(Ended::Failed("No message in the queue".to_owned()));
    };
    let field = |name: &str| message.get(name).and_then(Json::as_text).unwrap_or_default();
    let payload = match field("payload_encoding") {
        "base64" => STANDARD.decode(field("payload")).unwrap_or_default(),
        _ => field("payload").as_bytes().to_vec(),
    };
    write(Path::new(&file), &payload)?;
    let columns = ["routing_key", "exchange", "message_count", "payload_bytes", "redelivered"];
    call.print_list(&list, &columns.map(str::to_owned), &[])
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Ended> {
    std::fs::write(path, bytes).map_err(|error| failed_file(&error, path))
}

fn export(call: &mut Call<'_, '_>, words: &Words) -> Result<(), Ended> {
    let file = only(words)?;
    let definitions = call.api.get(&call.definitions())?;
    write(Path::new(file), definitions.as_bytes())?;
    let host = &call.settings.server.host;
    call.tell(&format!("Exported definitions for {host} to \"{file}\""));
    Ok(())
}

fn import(call: &mut Call<'_, '_>, words: &Words) -> Result<(), Ended> {
    let file = only(words)?;
    let definitions = read(Path::new(file))?;
    call.api.post(&call.definitions(), &definitions)?;
    let host = &call.settings.server.host;
    // rabbitmq: host and file have changed places in the script's words.
    call.tell(&format!(
        "Uploaded definitions from \"{host}\" to {file}. The import process may take some time. Consult server logs \
         to track progress."
    ));
    Ok(())
}
