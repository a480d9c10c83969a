//! Conversations with RabbitMQ, recorded frame by frame, played against the broker over real
//! sockets. A test is a topic: `cargo test --test it transcripts::queue`. See transcripts/README.md.

mod arena;
mod connection;
mod incoming;
mod matcher;
mod player;
mod scenario;
mod wire;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use arena::Arena;
use scenario::Scenario;

/// What the broker answers otherwise than RabbitMQ, as yet, and why. When one of them passes it has
/// to leave the list.
const NOT_BUILT: &[(&str, &str)] = &[
    ("stream/get-refused", STREAMS),
    ("stream/nack-refused", STREAMS),
    ("stream/no-ack", STREAMS),
    ("stream/offset-first", STREAMS),
    ("stream/offset-last", STREAMS),
    ("stream/offset-none", STREAMS),
    ("stream/offset-past-end", STREAMS),
    ("stream/read-twice", STREAMS),
];
const STREAMS: &str = "streams are answered 540, not implemented";

/// How many scenarios are played at once: they mostly wait, to see that nothing more comes.
const AT_ONCE: usize = 24;

/// How long a scenario may take before it is taken to hang.
const PATIENCE: Duration = Duration::from_secs(60);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().expect("the system gives threads")
});

/// A permit for each scenario that may be played at the same time; another's broker has one virtual
/// host for all of them.
static PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(if arena::foreign_broker().is_some() { 1 } else { AT_ONCE }));

macro_rules! topics {
    ($($topic:ident)+) => {
        const TOPICS: &[&str] = &[$(stringify!($topic),)+];

        $(#[test]
        fn $topic() {
            play_topic(stringify!($topic));
        })+
    };
}

topics! {
    ack binding channel confirm connection consume deadletter exchange framing get handshake
    maxlength permission priority publish queue quorum replyto singleactive stream ttl tx
}

#[test]
fn every_topic_has_a_test() {
    let directories = entries(&scenarios()).into_iter().filter(|entry| entry.is_dir());
    let topics: BTreeSet<String> = directories.map(|entry| name(&entry)).collect();
    assert_eq!(topics, TOPICS.iter().map(|topic| (*topic).to_owned()).collect());
}

#[test]
fn what_is_not_built_is_named_once_and_recorded() {
    let mut seen = BTreeSet::new();
    for (path, _) in NOT_BUILT {
        assert!(scenarios().join(format!("{path}.json")).is_file(), "there is no scenario {path}");
        assert!(seen.insert(path), "{path} is named twice");
    }
}

/// Plays all scenarios of a topic, and fails with an account of those that went otherwise.
fn play_topic(topic: &str) {
    let files = entries(&scenarios().join(topic)).into_iter();
    let tasks: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
        .map(|file| (format!("{topic}/{}", file.file_stem().unwrap_or_default().display()), file))
        .map(|(path, file)| (path.clone(), RUNTIME.spawn(judge(path, file))))
        .collect();
    assert!(!tasks.is_empty(), "{topic} has no scenarios");
    let count = tasks.len();
    let failures: Vec<String> = tasks
        .into_iter()
        .filter_map(|(path, task)| match RUNTIME.block_on(task) {
            Ok(verdict) => verdict.err(),
            Err(panic) => Some(format!("{path}: {panic}\n")),
        })
        .collect();
    let failed = failures.len();
    assert!(failed == 0, "{failed} of {count} scenarios failed\n\n{}", failures.join("\n"));
}

/// Plays one scenario and compares how it ended with how it was to end.
async fn judge(path: String, file: PathBuf) -> Result<(), String> {
    let scenario = Scenario::read(&file).map_err(|error| format!("{path}: {error}\n"))?;
    if scenario.path() != path {
        return Err(format!("{path} says that it is {}\n", scenario.path()));
    }
    let _place = PLACES.acquire().await.expect("the semaphore is never closed");
    let result = match timeout(PATIENCE, play(&scenario)).await {
        Ok(result) => result,
        Err(_) => Err(format!("  it did not end within {PATIENCE:?}\n")),
    };
    // The list is about this broker, and not about the one at another's address.
    let not_built = NOT_BUILT.iter().find(|(name, _)| *name == path);
    match (result, not_built.filter(|_| arena::foreign_broker().is_none())) {
        (Ok(()), Some((_, reason))) => {
            Err(format!("{path} passes, though NOT_BUILT says: {reason}\n"))
        }
        (Ok(()), None) => Ok(()),
        (Err(_), Some((_, reason))) => {
            println!("{path} is not built: {reason}");
            Ok(())
        }
        (Err(account), None) => Err(format!("{path}: {}\n{account}", scenario.shows)),
    }
}

async fn play(scenario: &Scenario) -> Result<(), String> {
    let line = |error: String| format!("  {error}\n");
    let arena = Arena::enter(scenario).await.map_err(line)?;
    let (result, played) = player::play(scenario, arena.address, &arena.vhost).await;
    let left = arena.leave(played).await.map_err(line);
    result.map_err(|failure| failure.to_string()).and(left)
}

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/scenarios")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
